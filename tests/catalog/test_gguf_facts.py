"""What a GGUF header says of its model: sizes, geometry, names."""

import os
from pathlib import Path

import pytest

from tests.catalog.gguf_builder import ARRAY, BOOL, Gguf
from tests.catalog.gguf_small import read, small
from tests.planner.shapes import SHAPES
from webapp.catalog import gguf
from webapp.catalog.gguf import HeaderError
from webapp.planner.facts import KvGroup

MODEL = os.environ.get("MODELYARD_TEST_GGUF", "")


def test_facts_of_smollm2_are_what_llamacpp_prints_about_it() -> None:
    facts = gguf.facts(read(SHAPES["smollm2"]().header()))
    assert facts.parameters == 134_515_008  # "model params = 134.52 M"
    assert round(facts.weights_bytes / 2**20, 2) == 92.10
    assert round(facts.bits_per_weight, 2) == 5.74
    assert (facts.layers, facts.heads, facts.kv_heads, facts.key_length) == (30, 9, 3, 64)
    assert facts.kv_groups == (KvGroup(30, 192, 192),)
    assert facts.tensor_bytes[0] == ("Q4_1", 66_355_200)
    assert len(facts.layer_bytes) == 30


@pytest.mark.skipif(not MODEL, reason="no model file named in MODELYARD_TEST_GGUF")
def test_facts_of_the_real_file_have_its_names_too() -> None:
    with Path(MODEL).open("rb") as file:
        facts = gguf.facts(gguf.read_header(file), Path(MODEL).stat().st_size)
    shape = gguf.facts(read(SHAPES["smollm2"]().header()))
    assert (facts.quantisation, facts.licence, facts.chat_template) == ("Q4_1", "apache-2.0", True)
    assert (facts.weights_bytes, facts.kv_groups, facts.vocabulary) == (
        shape.weights_bytes,
        shape.kv_groups,
        shape.vocabulary,
    )


@pytest.mark.parametrize(
    ("number", "name"),
    [(15, "Q4_K_M"), (1, "F16"), (32, "BF16"), (30, "IQ4_XS"), (7, "Q8_0"), (1024 + 15, "Q4_K_M"), (999, "F32")],
)
def test_quantisation_has_the_name_people_use(number: int, name: str) -> None:
    model = Gguf().text("general.architecture", "llama").number("general.file_type", number)
    assert gguf.facts(read(model.tensor("a", 64).file())).quantisation == name


def test_files_that_are_not_models_are_refused() -> None:
    with pytest.raises(HeaderError, match="names no architecture"):
        gguf.facts(read(Gguf().file()))
    adapter = Gguf().text("general.architecture", "llama").text("general.type", "adapter")
    with pytest.raises(HeaderError, match="of type adapter, not a model"):
        gguf.facts(read(adapter.file()))
    with pytest.raises(HeaderError, match="multimodal projector"):
        gguf.facts(read(Gguf().text("general.architecture", "clip").file()))


def test_parts_of_a_split_model_add_up() -> None:
    first = small().number("split.count", 2)
    second = Gguf().number("split.no", 1).tensor("blk.1.attn_q.weight", 64, 64, kind="Q8_0")
    alone = gguf.facts(read(first.file()))
    whole = gguf.facts(read(first.file()), more=[read(second.file())])
    assert (alone.split_parts, whole.split_parts) == (2, 2)
    assert whole.weights_bytes == alone.weights_bytes + 64 * 64 // 32 * 34
    assert len(whole.layer_bytes) == 2


def test_a_part_that_gives_no_number_as_its_number_is_refused() -> None:
    first = read(Gguf().number("split.count", 2).number("split.no", 0).file())
    second = read(Gguf().number("split.count", 2).text("split.no", "second").file())
    with pytest.raises(HeaderError, match="says that it is number 'second'"):
        gguf.check_parts([first, second])


def test_senseless_geometry_is_refused() -> None:
    for key, number in (("block_count", 1_000_000), ("context_length", 2**32 - 1)):
        model = Gguf().text("general.architecture", "llama").number(f"llama.{key}", number)
        with pytest.raises(HeaderError, match="geometry makes no sense"):
            gguf.facts(read(model.file()))


GEOMETRY = [
    ("llama", {"attention.sliding_window": 4096}, [(8, 0)]),  # llama.cpp ignores that window
    ("phi3", {"attention.sliding_window": 2047}, [(8, 0)]),
    ("gemma2", {}, [(4, 4096), (4, 0)]),
    ("gemma3", {}, [(8, 0)]),
    ("gpt-oss", {"attention.sliding_window": 128}, [(4, 128), (4, 0)]),
    ("cohere2moe", {"attention.sliding_window": 4096}, [(2, 0), (6, 4096)]),
    ("llama4", {}, [(6, 8192), (2, 0)]),
    ("llama4", {"attention.sliding_window": 0}, [(8, 0)]),
    ("exaone4", {"attention.sliding_window": 4096}, [(8, 0)]),
    ("gemma4", {"attention.sliding_window": 512, "attention.shared_kv_layers": 6}, [(2, 512)]),
    ("qwen3next", {"full_attention_interval": 4}, [(2, 0)]),
    ("glm4moe", {"nextn_predict_layers": 1}, [(7, 0)]),
    ("bert", {}, []),
    ("mamba2", {"ssm.inner_size": 128}, []),
]


@pytest.mark.parametrize(("architecture", "numbers", "groups"), GEOMETRY)
def test_architectures_cache_what_llamacpp_gives_them(
    architecture: str, numbers: dict[str, int], groups: list[tuple[int, int]]
) -> None:
    model = Gguf().text("general.architecture", architecture)
    base = {"block_count": 8, "embedding_length": 256, "attention.head_count": 4, "attention.head_count_kv": 2}
    for key, number in (base | numbers).items():
        model.number(f"{architecture}.{key}", number)
    facts = gguf.facts(read(model.file()))
    assert [(group.layers, group.window) for group in facts.kv_groups] == groups
    assert all(group.key_elements == 128 for group in facts.kv_groups)


def test_patterns_and_heads_may_be_given_layer_by_layer() -> None:
    model = Gguf().text("general.architecture", "gemma4").number("gemma4.block_count", 4)
    model.number("gemma4.embedding_length", 256).number("gemma4.attention.head_count", 4)
    model.number("gemma4.attention.sliding_window", 512).number("gemma4.attention.key_length_swa", 32)
    model.keys.append(("gemma4.attention.sliding_window_pattern", ARRAY, (BOOL, [True, True, False, True])))
    model.numbers("gemma4.attention.head_count_kv", [2, 2, 1, 2])
    facts = gguf.facts(read(model.file()))
    assert facts.kv_groups == (KvGroup(3, 64, 128, 512), KvGroup(1, 64, 64, 0))
    hybrid = Gguf().text("general.architecture", "jamba").number("jamba.block_count", 4)
    hybrid.number("jamba.embedding_length", 256).number("jamba.attention.head_count", 4)
    hybrid.numbers("jamba.attention.head_count_kv", [0, 0, 2, 0]).number("jamba.ssm.inner_size", 512)
    hybrid.number("jamba.ssm.state_size", 16).number("jamba.ssm.conv_kernel", 4)
    facts = gguf.facts(read(hybrid.file()))
    assert [group.layers for group in facts.kv_groups] == [1]
    assert facts.recurrent_bytes == 3 * (3 * 512 + 16 * 512) * 4
