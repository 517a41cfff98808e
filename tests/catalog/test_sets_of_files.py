"""What belongs together is what the model's own lists say, from a folder and from a hub alike."""

import json
import tempfile
from pathlib import Path

import pytest

from tests.catalog.gguf_file import gguf_bytes
from tests.catalog.safetensors_file import CONFIG, index_bytes, safetensors_bytes
from webapp.catalog import hubs, variants
from webapp.catalog.inspecting import inspect_path, inspect_repo
from webapp.catalog.weight_sets import File
from webapp.foundation.errors import Invalid
from webapp.jobs import fetching

pytestmark = pytest.mark.django_db

CONFIG_BYTES = json.dumps(CONFIG).encode()
# As DeepSeek-V3 names them: five digits and six.
PARTS = [f"model-0000{number}-of-000003.safetensors" for number in (1, 2, 3)]
WHOLE = {
    "config.json": CONFIG_BYTES,
    "model.safetensors.index.json": index_bytes({f"{n}.weight": name for n, name in enumerate(PARTS)}),
    **{name: safetensors_bytes({f"{n}.weight": ("BF16", (8, 8))}) for n, name in enumerate(PARTS)},
}


@pytest.fixture
def folder(import_dir):
    """An empty one that files may be imported from."""
    made = Path(tempfile.mkdtemp(dir=import_dir))
    made.chmod(0o755)
    return made


@pytest.fixture(params=["folder", "hub"])
def look(request, folder, hub, small_hub):
    """Inspects these files where they lie, in a folder and on a hub; returns what was found."""

    def inspect(files, key="", *, name="Tiny-1B"):
        if request.param == "hub":
            small_hub.add(f"org/{name}", files)
            return inspect_repo(hub, hubs.repo(hub, f"org/{name}"), key or "safetensors")
        for path, content in files.items():
            target = folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return inspect_path(folder / name, key)

    return inspect


def names(inspected):
    return {file["name"] for file in inspected.files}


def without(*gone):
    return {name: content for name, content in WHOLE.items() if name not in gone}


def index(raw):
    return {**WHOLE, "model.safetensors.index.json": raw}


def naming(name):
    return index(index_bytes({"0.weight": PARTS[0], "1.weight": name}))


def test_the_index_says_which_files_are_the_model_whatever_their_numbers_look_like(look):
    inspected = look({**WHOLE, "model-00001-of-00002.safetensors": safetensors_bytes()})
    assert names(inspected) == set(WHOLE)
    assert inspected.facts["parameters"] == 3 * 64


def test_without_an_index_all_parts_of_one_count_are_the_model(look):
    files = without("model.safetensors.index.json")
    assert names(look(files)) == set(files)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (without(PARTS[1]), "names model-00002-of-000003.safetensors, which is not there"),
        (without(*PARTS), "names model-00001-of-000003.safetensors, which is not there, nor are 2 more"),
        (naming("../other/model.safetensors"), "leads out of the model's folder"),
        (naming("/etc/passwd.safetensors"), "leads out of the model's folder"),
        (naming("a\\..\\b.safetensors"), "leads out of the model's folder"),
        (naming("./" + PARTS[1]), "no name of a safetensors file"),
        (naming("pytorch_model.bin"), "no name of a safetensors file"),
        (naming("x\x1b[2J\0\u202e.safetensors"), "leads out of the model's folder"),
        (index(b'{"weight_map": {}}'), "names no file"),
        (index(b'{"weight_map": {"a": "m.safetensors", "a": "n.safetensors"}}'), "says of one tensor twice"),
        (index(b'{"weight_map": ["m.safetensors"]}'), "has no weight_map"),
        (index(b"[" * 100_000), "lists more than any known model has"),
        (index(b"[" * 900), "is not sound JSON"),
        (index(b""), "is not sound JSON"),
        ({**without("model.safetensors.index.json", PARTS[1])}, "Part 2 of 3 is missing"),
        (
            {**without("model.safetensors.index.json"), "model-1-of-3.safetensors": safetensors_bytes()},
            "Part 1 of 3 is there twice",
        ),
    ],
)
def test_a_set_that_is_not_what_its_index_says_is_refused_by_name(look, files, words):
    with pytest.raises(Invalid) as refused:
        look(files, "safetensors")
    assert words in refused.value.what
    assert not {"\x1b", "\0", "\u202e"} & set(refused.value.what)


def test_a_link_out_of_the_folder_is_no_part_of_the_model(folder, tmp_path):
    for name, content in WHOLE.items():
        (folder / name).write_bytes(content)
    (tmp_path / "elsewhere").write_bytes(WHOLE[PARTS[1]])
    (folder / PARTS[1]).unlink()
    (folder / PARTS[1]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="a link that leads out of the folder"):
        inspect_path(folder)


def test_a_split_gguf_is_one_model_and_its_parts_get_the_names_that_llama_cpp_looks_for(look):
    files = {f"Tiny-1B-Q8_0-{n}-of-2.GGUF": gguf_bytes({"split.count": 2, "split.no": n - 1}) for n in (1, 2)}
    inspected = look(files, "Tiny-1B-Q8_0")
    assert names(inspected) == {"Tiny-1B-Q8_0-00001-of-00002.gguf", "Tiny-1B-Q8_0-00002-of-00002.gguf"}
    assert inspected.main_file == "Tiny-1B-Q8_0-00001-of-00002.gguf"


@pytest.mark.parametrize(
    ("count", "number", "words"), [(3, 1, "split into 3"), (2, 0, "says that it is number 1"), (1, 0, "split into 1")]
)
def test_parts_of_different_splits_are_not_one_model(look, count, number, words):
    first = gguf_bytes({"split.count": 2, "split.no": 0})
    second = gguf_bytes({"split.count": count, "split.no": number})
    with pytest.raises(Invalid, match=words):
        look({"m-00001-of-00002.gguf": first, "m-00002-of-00002.gguf": second}, "m")


@pytest.mark.parametrize("name", ["m-00001-of-00002.gguf", "m.gguf"])
def test_one_part_alone_is_refused_before_it_is_accepted(folder, small_hub, monkeypatch, name):
    from webapp.catalog.inspecting import inspect_url

    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")
    part = gguf_bytes({"split.count": 2, "split.no": 0})
    (folder / name).write_bytes(part)
    small_hub.add("plain/files", {name: part})
    for look_at in (lambda: inspect_path(folder / name), lambda: inspect_url(f"{small_hub.url}/plain/{name}")):
        with pytest.raises(Invalid) as refused:
            look_at()
        assert "is one of 2 parts of a model" in refused.value.what
        assert "import the folder" in refused.value.advice


def test_a_name_that_no_file_can_have_is_refused_before_it_is_fetched(small_hub, monkeypatch):
    from webapp.catalog.inspecting import inspect_url

    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")
    name = f"{'m' * 310}.gguf"
    small_hub.add("plain/files", {name: gguf_bytes({})})
    with pytest.raises(Invalid, match="characters, which is too long"):
        inspect_url(f"{small_hub.url}/plain/{name}")
    offered = variants.group([File(f"{'m' * 310}.gguf", 100), File("m.gguf", 100)])
    assert [variant.key for variant in offered.variants] == ["m"]


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
]
EMBEDDER = {
    "config.json": CONFIG_BYTES,
    "model.safetensors": safetensors_bytes({"a.weight": ("F32", (8, 8))}),
    "modules.json": json.dumps(MODULES).encode(),
    "sentence_bert_config.json": b"{}",
    "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
    "2_Dense/config.json": b"{}",
    "2_Dense/model.safetensors": safetensors_bytes({"linear.weight": ("F32", (4, 4))}),
}


def test_every_module_of_an_embedding_model_comes_with_it(look):
    inspected = look({**EMBEDDER, "2_Dense/pytorch_model.bin": b"x", "onnx/model.onnx": b"x"})
    assert names(inspected) == set(EMBEDDER)
    # The layers behind the model are no part of its own size.
    assert inspected.facts["parameters"] == 64


def test_a_module_is_its_folder_however_the_path_is_written(look):
    written = [{**module, "path": f"./{module['path']}/"} if module["path"] else module for module in MODULES]
    inspected = look({**EMBEDDER, "modules.json": json.dumps(written).encode()})
    assert names(inspected) == set(EMBEDDER)
    assert inspected.facts["parameters"] == 64


def embedder(*gone, **changed):
    kept = {name: content for name, content in EMBEDDER.items() if name not in gone}
    return {**kept, **{name.replace("__", "/"): content for name, content in changed.items()}}


def listing(path, kind="Pooling"):
    return {**EMBEDDER, "modules.json": json.dumps([*MODULES, {"path": path, "type": f"x.{kind}"}]).encode()}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (embedder("1_Pooling/config.json"), "modules.json names 1_Pooling, which is not there"),
        (
            {**embedder("2_Dense/model.safetensors"), "2_Dense/pytorch_model.bin": b"x"},
            "2_Dense has its weights in a pickle alone",
        ),
        (listing("../1_Pooling"), "leads out of the model's folder"),
        (listing("/etc"), "leads out of the model's folder"),
        ({**EMBEDDER, "modules.json": b"{}"}, "modules.json is no list of modules"),
    ],
)
def test_an_embedding_model_that_lacks_a_module_is_refused(look, files, words):
    with pytest.raises(Invalid) as refused:
        look(files, "safetensors")
    assert words in refused.value.what


def test_more_chat_templates_come_with_the_first(look):
    files = {**without(), "chat_template.jinja": b"x", "additional_chat_templates/tool_use.jinja": b"y"}
    assert names(look(files)) == set(files)


BOTH = {
    "config.json": CONFIG_BYTES,
    "model.safetensors": safetensors_bytes({"a.weight": ("F32", (8, 8))}),
    "model.fp16.safetensors": safetensors_bytes({"a.weight": ("F16", (8, 8))}),
}


def test_of_two_precisions_one_is_chosen_and_gets_the_name_that_engines_look_for(look, ada, team, host):
    assert look(BOTH, "safetensors").quantisation == "F32"
    half = look(BOTH, "model.fp16.safetensors")
    assert half.quantisation == "F16"
    assert names(half) == {"config.json", "model.safetensors"}
    assert half.size_bytes == len(CONFIG_BYTES) + len(BOTH["model.fp16.safetensors"])


def test_a_folder_with_two_precisions_says_what_there_is_to_choose(folder):
    for name, content in BOTH.items():
        (folder / name).write_bytes(content)
    with pytest.raises(Invalid) as refused:
        inspect_path(folder)
    assert "safetensors (0.0 MiB)" in refused.value.advice and "model.fp16.safetensors" in refused.value.advice


def test_a_file_that_gets_another_name_is_still_found_by_the_job(folder, ada, team, host):
    for name, content in BOTH.items():
        (folder / name).write_bytes(content)
    job = fetching.import_file(ada, team, host, str(folder), "model.fp16.safetensors")
    wanted = {file["name"]: file.get("from") for file in job.params["files"]}
    assert wanted == {"config.json": None, "model.safetensors": "model.fp16.safetensors"}


def test_the_lists_of_the_chosen_variant_are_read_before_those_of_a_hundred_others():
    many = [File(f"a{number:03}/model.safetensors.index.json", 100) for number in range(100)]
    root, chosen = File("model.safetensors.index.json", 100), File("z/model.safetensors.index.json", 100)
    read = variants.texts_of([*many, root, chosen], "z")
    assert set(read[:2]) == {root, chosen} and len(read) == variants.MOST_TEXTS
    large = [File(f"a{number}/model.safetensors.index.json", 30 * 2**20) for number in range(9)]
    assert len(variants.texts_of(large)) == 2
