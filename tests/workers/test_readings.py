"""From Docker's statistics, /proc and samplers to numbers: recorded captures and everything odd."""

import json

import pytest

from webapp.engines import metrics as engine_metrics
from webapp.engines.llamacpp.metrics import METRICS as OF_LLAMACPP
from webapp.engines.vllm.metrics import METRICS as OF_VLLM
from workers.watcher import readings

# Docker 20.10 on cgroup v1, one-shot.
V1 = {
    "read": "2026-11-22T18:17:02.60888803Z",
    "cpu_stats": {
        "cpu_usage": {"total_usage": 22939745, "usage_in_kernelmode": 10000000},
        "system_cpu_usage": 26302720000000,
        "online_cpus": 2,
    },
    "memory_stats": {
        "usage": 507904,
        "stats": {
            "cache": 0,
            "rss": 57344,
            "mapped_file": 0,
            "total_rss": 57344,
            "total_mapped_file": 4096,
            "total_inactive_file": 0,
        },
        "limit": 25276502016,
    },
}
# The names that cgroup v2 uses.
V2 = {
    "cpu_stats": {"cpu_usage": {"total_usage": 5_500_000_000}},
    "memory_stats": {
        "usage": 900_000_000,
        "stats": {"anon": 120_000_000, "file": 780_000_000, "file_mapped": 96_573_850},
    },
}
# A container that has ended.
ENDED = {"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}

STAT = "cpu  2255 34 2290 22625563 6290 127 456 10 7 0\ncpu0 1132 34 1441 11311718 3675 127 438 0 0 0\n"
MEMINFO = (
    "MemTotal:       24684084 kB\nMemFree:         1000000 kB\nMemAvailable:   20684084 kB\nBuffers:          100 kB\n"
)
NVIDIA = (
    "GPU-11111111-2222-3333-4444-555555555555, 37, 15360, 71.25, 54\n"
    "GPU-66666666-2222-3333-4444-555555555555, [N/A], 1024, [Not Supported], 40\n"
    "MIG-77777777-2222-3333-4444-555555555555, 1, 2, 3, 4\n"
    "No devices were found\n"
)
LLAMACPP = """# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 1024
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 4096
llamacpp:predicted_tokens_seconds 121.5
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
llamacpp:requests_deferred 1
"""
VLLM = """vllm:num_requests_running{engine="0",model_name="qwen"} 3.0
vllm:num_requests_running{engine="1",model_name="qwen"} 1.0
vllm:num_requests_waiting{engine="0",model_name="qwen"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="qwen"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="qwen"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="qwen"} 1.5e+03
vllm:generation_tokens_total{engine="0",model_name="qwen"} 700.0
"""


def test_a_containers_memory_is_told_from_the_files_it_maps():
    old, new = readings.container(V1), readings.container(V2)
    assert old is not None and new is not None
    assert old.values == {"memory_bytes": 57344, "mapped_bytes": 4096}
    assert old.cpu_s == pytest.approx(0.022939745)
    assert new.values == {"memory_bytes": 120_000_000, "mapped_bytes": 96_573_850}
    assert new.cpu_s == 5.5


@pytest.mark.parametrize("stats", [ENDED, {}, {"cpu_stats": None}, {"cpu_stats": {"cpu_usage": {"total_usage": 1}}}])
def test_a_container_that_has_ended_uses_nothing_that_is_known(stats):
    assert readings.container(stats) is None


def test_a_machines_busy_time_leaves_out_waiting_for_disks():
    machine = readings.machine(STAT, MEMINFO)
    assert machine is not None
    assert machine.usage.cpu_s == pytest.approx((2255 + 34 + 2290 + 127 + 456 + 10) / 100)
    assert machine.usage.values == {"memory_bytes": 4_000_000 * 1024}
    assert machine.gpus == {}


@pytest.mark.parametrize(
    ("stat", "meminfo"), [("", MEMINFO), ("cpu", MEMINFO), (STAT, ""), (STAT, "MemTotal: none"), ("intr 5", MEMINFO)]
)
def test_a_machine_that_says_nothing_sensible_is_unknown(stat, meminfo):
    assert readings.machine(stat, meminfo) is None


def test_what_a_gpu_does_not_tell_is_left_out():
    found = readings.nvidia(NVIDIA)
    first, second = found.values()
    assert first == {
        "busy_percent": 37,
        "gpu_memory_bytes": 15360 * 1024**2,
        "power_watts": 71.25,
        "temperature_c": 54,
    }
    assert second == {"gpu_memory_bytes": 1024**3, "temperature_c": 40}


def test_a_samplers_line_says_when_and_what():
    line = json.dumps({"at": 1732280000.5, "stat": STAT, "meminfo": MEMINFO, "gpus": NVIDIA})
    at, machine = readings.sampler_line(line + "\n")
    assert at == 1732280000.5
    assert len(machine.gpus) == 2


@pytest.mark.parametrize(
    "line",
    ["", "hello", "[]", "{}", '{"at": "now"}', '{"at": NaN, "stat": "cpu 1 2 3 4 5", "meminfo": ""}', "[" * 5000],
)
def test_any_other_line_is_nothing(line):
    assert readings.sampler_line(line) is None


def test_each_engines_gauges_have_the_same_names():
    assert engine_metrics.gauges(LLAMACPP, OF_LLAMACPP) == {"requests_running": 2, "requests_waiting": 1}
    assert engine_metrics.gauges(VLLM, OF_VLLM) == {
        "requests_running": 4,
        "requests_waiting": 0,
        "kv_cache_percent": 50,
    }
    assert engine_metrics.gauges("vllm:num_requests_running ----\n<html>", OF_VLLM) == {}


def test_a_number_beyond_counting_is_none():
    """An infinity in one engine's words would keep the samples of all hosts out of PostgreSQL's JSON."""
    text = "vllm:num_requests_waiting 1e999\nvllm:num_requests_running 2\n"
    assert engine_metrics.gauges(text, OF_VLLM) == {"requests_running": 2}
    assert engine_metrics.gauges("vllm:kv_cache_usage_perc 1e308", OF_VLLM) == {}
    text = 'vllm:prompt_tokens_total{a="1"} 1e308\nvllm:prompt_tokens_total 1e308'
    assert engine_metrics.counters(text, OF_VLLM) == {}


def test_counters_become_rates_and_a_restart_becomes_nothing():
    before = engine_metrics.counters(LLAMACPP, OF_LLAMACPP)
    after = engine_metrics.counters(LLAMACPP.replace(" 4096", " 4296").replace(" 1024", " 24"), OF_LLAMACPP)
    assert before == {"prompt_tokens_per_s": 1024, "completion_tokens_per_s": 4096}
    assert engine_metrics.rates(before, after, 10) == {"completion_tokens_per_s": 20}
    assert engine_metrics.rates(before, after, 0) == {}
    assert engine_metrics.counters(VLLM, OF_VLLM) == {"prompt_tokens_per_s": 1500, "completion_tokens_per_s": 700}


def test_while_nothing_grows_the_next_rate_is_not_thinned():
    from workers.watcher.sampling import Memory

    memory, subject = Memory(), ("engine", 1, 1, 1)
    assert memory.rates(subject, 0.0, {"completion_tokens_per_s": 100}) == {}
    memory.stand_still(subject, 90.0)
    assert memory.rates(subject, 100.0, {"completion_tokens_per_s": 150}) == {"completion_tokens_per_s": 5}
    memory.forget(101.0)
    assert memory.rates(subject, 110.0, {"completion_tokens_per_s": 200}) == {}


@pytest.mark.parametrize("cores", [0.5, 0.0])
def test_only_an_engine_that_works_is_asked_for_its_metrics(monkeypatch, cores):
    import asyncio
    from types import SimpleNamespace

    from webapp.engines.base import ProbeOutcome
    from webapp.foundation.reach import Address, Reach
    from workers.watcher import sampling

    asked = []

    async def ask(reach, probe):
        asked.append(probe.path)
        return ProbeOutcome(200, LLAMACPP.encode())

    monkeypatch.setattr(sampling, "ask", ask)
    target = SimpleNamespace(run=(1, 1, 1), reach=Reach(1, Address("x", 1)))
    found = asyncio.run(sampling._engine(target, OF_LLAMACPP, sampling.Memory(), is_idle=cores < sampling.IDLE_CORES))
    assert asked == (["/metrics"] if cores else [])
    assert found["requests_running"] == (2 if cores else 0)
