"""Small pieces of the workers that need no Docker engine."""

import asyncio
import dataclasses
import ipaddress
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from docker.errors import NotFound

from webapp import engines
from webapp.engines.base import ExitFacts, HardwareAllocation, LaunchSpec
from workers.controllers.host import act as hosts
from workers.controllers.job import endings as jobs
from workers.hosts.client import plainly
from workers.runtime import docker as docker_runtime
from workers.runtime import docker_forms, specs
from workers.runtime.base import ContainerSpec, StartRefused
from workers.watcher import logs


def test_a_jobs_last_word_counts_and_noise_does_not() -> None:
    log = 'Traceback\n{"step": "copy", "done": 1}\n{"error": {"message": "no", "advice": "do"}}\nnoise\n[1]\n'
    assert jobs.read_ending(log) == jobs.Ending(message="no", advice="do")
    files = {"step": "done", "files": [{"name": "a"}]}
    assert jobs.read_ending(json.dumps(files)) == jobs.Ending(files)
    assert jobs.read_ending("{broken\n") == jobs.Ending()
    assert jobs.read_ending(json.dumps(files) + "\n" + "[" * 100_000) == jobs.Ending(files)
    deep = '{"step": "done", "x": ' + "[" * 900 + "]" * 900 + "}"
    assert jobs.read_ending(json.dumps(files) + "\n" + deep) == jobs.Ending(files)


class _Behind:
    """A Docker engine whose clock is an hour behind: it answers only when the date asked for has passed there."""

    now = 1_700_000_000.25

    def info(self) -> dict[str, str]:
        return {"SystemTime": "2023-11-14T22:13:20.250000000Z"}

    def events(self, until: str, **_asked: Any) -> list[dict[str, Any]]:
        assert float(until) <= self.now, "it would wait"
        return [{"Actor": {"Attributes": {"signal": "15"}}}]


def test_what_an_engine_remembers_is_asked_for_by_its_own_clock() -> None:
    runtime: Any = docker_runtime.DockerRuntime(lambda: cast(Any, _Behind()), 10)
    assert runtime.signals_sent("container") == ("SIGTERM",)


def test_an_engine_network_keeps_clear_of_every_other_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.runtime import docker

    routed = [ipaddress.IPv4Network("10.231.0.0/16"), ipaddress.IPv4Network("172.29.231.0/25")]
    monkeypatch.setattr(docker, "routed_subnets", lambda: routed)
    free = hosts.free_subnets(["172.29.230.0/24"])
    assert free[0] == "172.29.232.0/24"
    assert not any(subnet.startswith("10.") for subnet in free)


WHO = specs.labels("installation", "job", 7, 1, 1)


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str | int):
        return value + type(value)(1)
    if isinstance(value, Mapping):
        return {**value, "more": ("/more", "ro")}
    return (*(value or ()), "more")


@pytest.mark.parametrize("name", [one.name for one in dataclasses.fields(ContainerSpec)])
def test_whatever_changes_in_a_spec_has_another_name_for_its_content(name: str) -> None:
    spec = specs.fetch_container(name="a", who=WHO, order={"files": []}, import_folder="/x")
    assert specs.with_hash(spec).labels == spec.labels, "its own name is no part of what it names"
    other = specs.with_hash(dataclasses.replace(spec, **{name: changed(getattr(spec, name))}))
    assert other.labels["modelyard.spec"] != spec.labels["modelyard.spec"]


def test_the_order_of_what_has_none_changes_nothing() -> None:
    spec = ContainerSpec("a", "i", WHO, env={"a": "1", "b": "2"}, mounts={"v/1": ("/1", "ro"), "w": ("/w", "rw")})
    turned = ContainerSpec("a", "i", dict(reversed(WHO.items())), env={"b": "2", "a": "1"})
    turned = dataclasses.replace(turned, mounts=dict(reversed(spec.mounts.items())))
    assert specs.with_hash(spec).labels == specs.with_hash(turned).labels


def test_an_engine_and_a_quantiser_are_given_the_files_of_their_model_alone() -> None:
    launch = LaunchSpec([], {}, 1, 0, (), "")
    engine = specs.engine_container(
        name="a", image="i", way_in=specs.WayIn(), engine=engines.get("llamacpp"), launch=launch,
        grant=HardwareAllocation("cpu"), who=WHO, artifact_id=7,
    )  # fmt: skip
    assert engine.mounts == {"modelyard-models/7": ("/models/7", "ro")}
    quantiser = specs.quantiser_container(
        name="a", who=WHO, image="i", order={}, artifact_id=7, work=".work/job-3", memory_bytes=1
    )
    assert quantiser.mounts == {
        "modelyard-models/7": ("/models/7", "ro"), "modelyard-models/.work/job-3": ("/job", "rw"),
    }  # fmt: skip


def test_a_volume_that_is_gone_is_a_start_that_was_refused_and_no_missing_container() -> None:
    spec = ContainerSpec("a", "i", WHO, mounts={"gone/7": ("/models/7", "ro")})
    with pytest.raises(StartRefused) as refused:
        docker_runtime._reachable(_Engine("1.41"), spec)
    reason = engines.get("llamacpp").explain_exit(ExitFacts(None, error_text=str(refused.value)))
    assert "files are no longer on the host" in reason.message and not reason.retry


class _Engine:
    """As much of a Docker client as mounts ask of it."""

    def __init__(self, api_version: str) -> None:
        self.api_version = api_version

    def inspect_volume(self, name: str) -> dict[str, str]:
        if name == "gone":
            raise NotFound("no such volume")
        return {"Mountpoint": f"/var/lib/docker/volumes/{name}/_data"}


@pytest.mark.parametrize(
    ("version", "kind", "source", "folder"),
    [
        ("1.45", "volume", "modelyard-models", "7"),
        ("1.41", "bind", "/var/lib/docker/volumes/modelyard-models/_data/7", None),
    ],
)
def test_a_folder_of_a_volume_is_mounted_as_this_docker_can(
    version: str, kind: str, source: str, folder: str | None
) -> None:
    spec = ContainerSpec("a", "i", WHO, mounts={"modelyard-models/7": ("/models/7", "ro"), "whole": ("/w", "rw")})
    part, whole = docker_forms.host_config(docker_runtime._reachable(_Engine(version), spec))["mounts"]
    assert (part["Type"], part["Source"], part["ReadOnly"]) == (kind, source, True)
    assert (part.get("VolumeOptions") or {}).get("Subpath") == folder
    assert (whole["Type"], whole["Source"], whole["ReadOnly"]) == ("volume", "whole", False)


def test_no_job_has_a_network_but_one_that_fetches_from_elsewhere() -> None:
    who: dict[str, str] = {}
    ordered: dict[str, Any] = {"name": "a", "who": who, "order": {}}
    without = [
        specs.fetch_container(**ordered, import_folder="/import"),
        specs.remove_container(name="a", who=who, folder="1"),
        specs.shelf_container(**ordered, reads_input=True),
        specs.quantiser_container(**ordered, image="i", artifact_id=7, work="/w", memory_bytes=1),
        specs.clean_up_container("a", who, "1"),
    ]
    assert [spec.network for spec in without] == [None] * len(without)
    assert specs.fetch_container(**ordered, import_folder=None).network == "bridge"


def test_a_line_is_cut_to_its_last_word_and_to_its_limit() -> None:
    assert logs._capped(" 10%\r 20%\r100%\r") == "100%"
    assert logs._capped("a\0b") == "ab"
    assert len(logs._capped("x" * 10_000)) == logs.MOST_LINE + 2
    assert logs._unix("2026-11-22T15:00:00.120000000Z").endswith(".120000000")


def test_the_scheduler_knows_no_django() -> None:
    import subprocess
    import sys

    program = "import sys, workers.beat; print([name for name in sys.modules if name.startswith('django.db')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_buffers_of_one_kind_add_up_but_a_compute_buffer_replaces_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[Any] = []

    async def call(function: Any, *arguments: Any) -> None:
        if function is logs.rows.record_engine_facts:
            stored.append(arguments[1])

    monkeypatch.setattr(logs.rows, "call", call)
    reader = logs.ReplicaLog((1, 1, 1), engines.get("llamacpp"))
    lines = [
        "llama_kv_cache:        CPU KV buffer size =    10.00 MiB",
        "llama_kv_cache:        CPU KV buffer size =     5.00 MiB",
        "sched_reserve:        CPU compute buffer size =    15.00 MiB",
        "sched_reserve:        CPU compute buffer size =    14.00 MiB",
    ]
    asyncio.run(reader.flush([("2026-11-22T15:00:00Z", line) for line in lines]))
    asyncio.run(reader.flush([("2026-11-22T15:00:01Z", "nothing of interest")]))
    assert stored == [{"CPU kv_cache": 15 << 20, "CPU compute_buffer": 14 << 20}]


def test_what_only_says_that_we_looked_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []

    async def call(function: Any, *arguments: Any) -> None:
        assert function is logs.rows.append_log
        kept.append(arguments[1])

    monkeypatch.setattr(logs.rows, "call", call)
    reader = logs.ReplicaLog((1, 1, 1), engines.get("llamacpp"))
    idle = "0.02.035.048 I srv  update_slots: all slots are idle"
    asyncio.run(reader.flush([("2026-11-22T15:00:00Z", idle)]))
    assert kept == []
    asyncio.run(reader.flush([("2026-11-22T15:00:01Z", line) for line in (idle, "somebody's line", idle)]))
    assert kept == ["somebody's line\n"]


def test_any_other_fault_keeps_its_own_words() -> None:
    assert plainly(ValueError("no JSON")) == "no JSON"
    assert plainly(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e400", "-1e30", "true", '"9"', "1" * 30])
def test_a_number_that_no_row_holds_is_left_out(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    told: list[Any] = []

    async def call(_function: Any, *arguments: Any) -> None:
        told.append(arguments)

    monkeypatch.setattr(logs.rows, "call", call)
    line = f'{{"step": "copy", "done": {number}, "total": {number}, "speed": {number}, "unit": "bytes"}}'
    asyncio.run(logs.JobLog((7, 1, 2)).flush([("2026-11-22T15:00:00Z", line)]))
    assert told == [(7, "copy", None, None, "bytes", None, "")]


def test_a_jobs_log_holds_what_its_tools_say_and_its_numbers_go_to_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    numbers: list[Any] = []

    async def call(function: Any, *arguments: Any) -> None:
        if function is logs.rows.append_job_log:
            kept.append(arguments[1])
        elif function is logs.rows.record_job_progress:
            numbers.append(arguments)

    monkeypatch.setattr(logs.rows, "call", call)
    lines = [
        '{"step": "quantise", "done": 1, "total": 272, "unit": "tensors", "message": "blk.0"}',
        "[   1/ 272] blk.0 - converting to q4_K",
        '{"step": "copy", "done": 1, "total": 9, "unit": "bytes", "message": "a.gguf\\n{forged}"}',
        '{"step": "copy", "done": 2, "total": 9, "unit": "bytes", "message": "a.gguf\\n{forged}"}',
        '{"error": {"code": "disk_full", "message": "The disk is full.", "advice": "Make room."}}',
        '{"step": "done", "result": {}}',
        "{no json",
    ]
    asyncio.run(logs.JobLog((7, 1, 2)).flush([(f"2026-11-22T15:00:0{n}Z", line) for n, line in enumerate(lines)]))
    assert "".join(kept).splitlines() == [
        "[   1/ 272] blk.0 - converting to q4_K", "copy: a.gguf {forged}", "The disk is full. Make room.", "{no json",
    ]  # fmt: skip
    assert numbers == [(7, "copy", 2, 9, "bytes", None, "a.gguf\n{forged}")]
