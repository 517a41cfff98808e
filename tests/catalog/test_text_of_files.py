"""What files, hubs and tools say is stored, shown and printed without what steers a terminal or turns text around."""

import json

import pytest
from django.urls import reverse

from tests.catalog.gguf_file import gguf_bytes, write_gguf
from tests.catalog.safetensors_file import CONFIG, safetensors_bytes
from webapp.catalog import hubs, services
from webapp.catalog.inspecting import inspect_path, inspect_repo
from webapp.catalog.models import Artifact, CatalogModel
from webapp.foundation.errors import Invalid, ServiceError
from webapp.jobs import fetching
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from workers.controllers.job.endings import plain_lines, read_ending
from workers.watcher.logs import _capped

pytestmark = pytest.mark.django_db

# NUL, ESC with what follows it, line ends, and marks that turn text around or hide in it.
EVIL = "\0\x1b[2J\r\n\u2028\x9b31m\u202e\u2066\u200f\u061c\ufeff"
FORBIDDEN = set(EVIL) - set("[2J31m")


def rows_of_jobs():
    return list(Job.objects.values("message", "advice", "reason", "step", "unit", "params", "result"))


def texts(value):
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def assert_clean(*values):
    for text in texts(list(values)):
        assert not FORBIDDEN & set(text), ascii(text)


def test_a_header_with_hostile_text_loses_nothing_and_keeps_nothing_of_it(client, ada, team, host, import_dir):
    words = {
        "general.architecture": f"lla{EVIL}ma",
        "general.basename": f"Ti{EVIL}ny",
        "general.size_label": f"1B{EVIL}",
        "general.name": f"Ti{EVIL}ny{EVIL}",
        "general.license": f"mit{EVIL}",
    }
    path = write_gguf(import_dir / "hostile.gguf", metadata=words)
    job = fetching.import_file(ada, team, host, str(path))
    model = CatalogModel.objects.get()
    assert (model.name[:3], model.name[-10:], model.licence[:3]) == ("Ti-", "1B--[2J----31m"[-10:], "mit")
    assert_clean(*CatalogModel.objects.values(), *Artifact.objects.values(), *rows_of_jobs())
    client.force_login(ada)
    for address in (reverse("catalog:detail", args=[model.slug]), reverse("jobs:detail", args=[job.pk])):
        assert not (FORBIDDEN - set("\r\n")) & set(client.get(address).content.decode())
    assert_clean(client.get(f"/api/v1/artifacts/{job.artifact_id}").json())


@pytest.mark.parametrize(
    "content",
    [
        gguf_bytes({f"general.x{EVIL}": 1, "general.alignment": 3}),
        gguf_bytes({"general.type": f"adapter{EVIL}"}),
        gguf_bytes(tensors={f"blk{EVIL}": (32, 16), f"blk{EVIL} ": (32, 16)}),
        b"GGUF" + EVIL.encode() * 30,
    ],
)
def test_a_refusal_repeats_nothing_of_a_hostile_header(import_dir, content):
    path = import_dir / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(ServiceError) as refused:
        inspect_path(path)
    assert_clean(refused.value.what, refused.value.advice, refused.value.fields)


@pytest.mark.parametrize("name", ["m\x1b.gguf", "m\n.gguf", "m\u202e.gguf", "\u2066/m.gguf"])
def test_a_path_that_cannot_be_shown_as_it_is_is_refused_in_words(import_dir, name):
    path = import_dir / name
    path.parent.mkdir(exist_ok=True)
    write_gguf(path)
    with pytest.raises(Invalid, match="control characters or hidden marks") as refused:
        inspect_path(path)
    assert_clean(refused.value.what, refused.value.advice)


def test_what_a_hub_and_a_config_say_is_cleaned(hub, small_hub, ada, team, host):
    config = {**CONFIG, "model_type": f"llama{EVIL}", "quantization_config": {"quant_method": f"awq{EVIL}", "bits": 4}}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors_bytes({f"a{EVIL}.weight": ("BF16", (8, 8))}),
        f"b{EVIL.replace(chr(0), '')}.gguf": gguf_bytes(),
    }
    small_hub.add("org/Hostile-1B", files, licence=f"mit{EVIL}")
    found = hubs.repo(hub, "org/Hostile-1B")
    inspected = inspect_repo(hub, found, "safetensors")
    assert_clean(found.licence, inspected.facts, inspected.quantisation, list(inspected.files), inspected.source)
    artifact = services.add_artifact(team, inspected)
    assert_clean(*CatalogModel.objects.values(), *Artifact.objects.values())
    assert artifact.facts["architecture"].startswith("llama")


def test_a_safetensors_header_is_not_repeated_either(import_dir):
    folder = import_dir / "hostile"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors_bytes(**{f"evil{EVIL}": {"dtype": f"F{EVIL}", "shape": []}}))
    with pytest.raises(Invalid) as refused:
        inspect_path(folder)
    assert_clean(refused.value.what)


def test_what_a_jobs_tool_says_is_stored_clean(ada, team, host, artifact):
    job = jobs.queue_fetch(ada, team, artifact, host, {"files": []})
    jobs.record_progress(job.pk, f"copy{EVIL}", 1, 2, f"bytes{EVIL}", None, f"m{EVIL}.gguf")
    job.refresh_from_db()
    log = json.dumps({"error": {"code": "x", "message": f"It{EVIL}failed", "advice": f"Do{EVIL}this"}})
    ending = read_ending(log)
    jobs.move(job, JobState.QUEUED, JobState.FAILED, ending.message, advice=ending.advice + EVIL)
    done = read_ending(json.dumps({"step": "done", "files": [{"name": f"m{EVIL}"}], f"x{EVIL}": "two\nlines"}))
    assert done.result is not None and "two\nlines" in done.result.values()
    assert_clean(*rows_of_jobs(), list(job.events.values_list("reason", flat=True)), ending.message, ending.advice)
    assert not (FORBIDDEN - {"\n"}) & set("".join(texts(done.result)))


def test_lines_of_logs_are_stored_clean():
    assert _capped("\x1b[31mred\x1b[0m \u202etext\0") == "red text"
    assert _capped("10 %\r20 %\x07\r") == "20 %"
    for kept in (_capped(f"load{EVIL}ing"), plain_lines(f"one{EVIL}\ntwo")):
        assert not (FORBIDDEN - {"\n"}) & set(kept)
