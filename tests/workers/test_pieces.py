"""Small pieces of the workers that need no Docker engine."""

import asyncio
import ipaddress
import json
from typing import Any

import pytest

from webapp import engines
from workers.controllers.host import act as hosts
from workers.controllers.job import endings as jobs
from workers.hosts.client import plainly
from workers.runtime import specs
from workers.watcher import logs


def test_a_jobs_last_word_counts_and_noise_does_not() -> None:
    log = 'Traceback\n{"step": "copy", "done": 1}\n{"error": {"message": "no", "advice": "do"}}\nnoise\n[1]\n'
    assert jobs.read_ending(log) == jobs.Ending(message="no", advice="do")
    files = {"step": "done", "files": [{"name": "a"}]}
    assert jobs.read_ending(json.dumps(files)) == jobs.Ending(files)
    assert jobs.read_ending("{broken\n") == jobs.Ending()
    assert jobs.read_ending(json.dumps(files) + "\n" + "[" * 100_000) == jobs.Ending(files)


def test_an_engine_network_keeps_clear_of_every_other_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.runtime import docker

    routed = [ipaddress.IPv4Network("10.231.0.0/16"), ipaddress.IPv4Network("172.29.231.0/25")]
    monkeypatch.setattr(docker, "routed_subnets", lambda: routed)
    free = hosts.free_subnets(["172.29.230.0/24"])
    assert free[0] == "172.29.232.0/24"
    assert not any(subnet.startswith("10.") for subnet in free)


def test_a_changed_spec_has_another_name_for_its_content() -> None:
    order: dict[str, Any] = {"files": []}
    who = specs.labels("installation", "job", 7, 1, 1)
    first = specs.fetch_container(name="a", who=who, order=order, import_folder="/x")
    again = specs.fetch_container(name="a", who=who, order=order, import_folder="/x")
    other = specs.fetch_container(name="a", who=who, order=order, import_folder="/y")
    assert first.labels["modelyard.spec"] == again.labels["modelyard.spec"] != other.labels["modelyard.spec"]


def test_no_job_has_a_network_but_one_that_fetches_from_elsewhere() -> None:
    who: dict[str, str] = {}
    ordered: dict[str, Any] = {"name": "a", "who": who, "order": {}}
    without = [
        specs.fetch_container(**ordered, import_folder="/import"),
        specs.remove_container(name="a", who=who, folder="1"),
        specs.shelf_container(**ordered, reads_input=True),
        specs.quantiser_container(**ordered, image="i", work="/w", memory_bytes=1),
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
