"""vLLM as data: what it is started with, what its answers, log lines and deaths mean."""

import json

import pytest

from webapp.engines.base import ExitCode, ExitFacts, HardwareAllocation, ModelFiles, ProbeOutcome, Readiness
from webapp.engines.vllm.adapter import Vllm
from webapp.engines.vllm.options import VllmOptions
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import GIB, Capacity, estimate_of

ENGINE = Vllm()
MODEL = ModelFiles("/models/7/model.safetensors", "smollm2", "safetensors")
CPU = HardwareAllocation("cpu", cpu_count=2)
CARD = HardwareAllocation("nvidia", device_ids=("GPU-1",), cpu_count=8)
FACTS = ModelFacts("llama", layers=30, weights_bytes=269_060_552)


def test_on_a_cpu_the_cache_is_an_environment_variable() -> None:
    spec = ENGINE.launch(MODEL, VllmOptions(cache_gib=2), CPU)
    assert spec.argv[:3] == ["/models/7", "--served-model-name", "smollm2"]
    assert "--enforce-eager" in spec.argv
    assert "--kv-cache-memory-bytes" not in spec.argv
    assert spec.env["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert spec.upstream_model == "smollm2"


def test_on_a_socket_it_is_told_the_sockets_path() -> None:
    at_port = ENGINE.launch(MODEL, VllmOptions(), CPU)
    assert ENGINE.on_socket(at_port, "/run/modelyard/e.sock").argv == [*at_port.argv, "--uds", "/run/modelyard/e.sock"]


def test_on_a_card_the_cache_is_a_flag_and_nothing_is_left_to_a_share_of_the_card() -> None:
    spec = ENGINE.launch(MODEL, VllmOptions(cache_gib=3), CARD)
    assert spec.argv[spec.argv.index("--kv-cache-memory-bytes") + 1] == str(3 * GIB)
    assert "VLLM_CPU_KVCACHE_SPACE" not in spec.env


def test_several_cards_share_model_and_cache_in_equal_parts() -> None:
    pair = HardwareAllocation("nvidia", device_ids=("GPU-1", "GPU-2"), cpu_count=8)
    argv = ENGINE.launch(MODEL, VllmOptions(cache_gib=4), pair).argv
    assert argv[argv.index("--tensor-parallel-size") + 1] == "2"
    assert argv[argv.index("--kv-cache-memory-bytes") + 1] == str(2 * GIB)
    assert "--tensor-parallel-size" not in ENGINE.launch(MODEL, VllmOptions(), CARD).argv
    one, two = (estimate_of(ENGINE.memory_terms(FACTS, VllmOptions(), grant)) for grant in (CARD, pair))
    for name in ("weights", "kv_cache"):
        assert one.bytes_of(name) == two.bytes_of(name), "they are shared, not doubled"
    assert two.bytes_of("gpu_context") == 2 * one.bytes_of("gpu_context")
    assert two.bytes_of("further_gpus") == one.bytes_of("compute_buffer")


@pytest.mark.parametrize(
    ("heads", "kv_heads", "chosen", "counts"),
    [
        (32, 8, None, (1, 2, 4, 8)),
        (9, 3, None, (1,)),
        (12, 2, None, (1, 2, 4)),
        (40, 10, None, (1, 2)),  # Phi-4: 10 key-value heads go among 2 GPUs, not among 4
        (24, 1, None, (1, 2, 4, 8)),  # one for all: each GPU has a copy
        (0, 0, None, (1, 2, 4, 8)),
        (32, 8, 4, (4,)),
        (0, 0, 3, (3,)),
    ],
)
def test_it_is_spread_over_numbers_of_cards_that_divide_its_heads(
    heads: int, kv_heads: int, chosen: int | None, counts: tuple[int, ...]
) -> None:
    facts = ModelFacts("llama", heads=heads, kv_heads=kv_heads)
    assert ENGINE.accelerator_counts(facts, VllmOptions(tensor_parallel=chosen)) == counts


@pytest.mark.parametrize(("heads", "kv_heads", "chosen"), [(32, 8, 3), (40, 10, 4)])
def test_a_number_of_cards_that_does_not_divide_the_heads_is_refused(heads: int, kv_heads: int, chosen: int) -> None:
    facts = ModelFacts("llama", heads=heads, kv_heads=kv_heads)
    with pytest.raises(ValueError, match=f"{heads} attention heads .* among {chosen} GPUs"):
        ENGINE.accelerator_counts(facts, VllmOptions(tensor_parallel=chosen))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ModelFiles("/models/1/m.gguf", "m", "gguf"), "safetensors"),
        (ModelFiles("/models/1/m.safetensors", "--help", "safetensors"), "dash"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(model: ModelFiles, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ENGINE.launch(model, VllmOptions(), CPU)


@pytest.mark.parametrize(
    ("outcome", "readiness"),
    [
        (ProbeOutcome(None, error="refused"), Readiness.REFUSED),
        (ProbeOutcome(200, b'{"choices": [{"text": "2"}]}'), Readiness.READY),
        (ProbeOutcome(200, b'{"choices": []}'), Readiness.FAILED),
        (ProbeOutcome(200, b"[]"), Readiness.FAILED),
        (ProbeOutcome(500, b"Internal Server Error"), Readiness.FAILED),
    ],
)
def test_only_a_computed_token_proves_it(outcome: ProbeOutcome, readiness: Readiness) -> None:
    assert ENGINE.classify_completion(outcome) == readiness


def test_the_probe_asks_for_one_token() -> None:
    body = json.loads(ENGINE.completion_probe("smollm2").body or b"")
    assert (body["model"], body["max_tokens"]) == ("smollm2", 1)


@pytest.mark.parametrize(
    ("line", "key", "fraction", "size"),
    [
        ("(APIServer pid=1) INFO vLLM server version 0.32.0, serving model /models/7", "program", 0.1, None),
        (
            "(APIServer pid=1) INFO 11-22 ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.32.0",
            "program",
            0.1,
            None,
        ),
        (
            "(APIServer pid=1) INFO [model.py:733] Resolved architecture: LlamaForCausalLM",
            "architecture",
            0.2,
            None,
        ),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]", "weights", 0.45, None),
        ("INFO Model loading took 0.25 GiB memory and 1.2 seconds", "weights", None, GIB // 4),
        ("INFO Available KV cache memory: 1.0 GiB", "kv_cache", None, GIB),
        ("(Worker pid=37) INFO Explicitly set (1.0/4.02) GiB for KV cache on node 0.", "kv_cache", None, GIB),
        ("INFO:     Application startup complete.", "loaded", 1.0, None),
    ],
)
def test_log_lines_tell_progress_and_sizes(line: str, key: str, fraction: float | None, size: int | None) -> None:
    fact = ENGINE.parse_log(line)
    assert fact is not None
    assert (fact.key, fact.value_bytes) == (key, size)
    assert fact.fraction == (pytest.approx(fraction) if fraction else None)


def test_what_users_write_is_no_fact() -> None:
    assert ENGINE.parse_log("GET /v1/models 200 OK") is None
    assert ENGINE.parse_log("x" * 5000 + "Application startup complete") is None


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ("ValueError: Invalid quantization method: foo", ExitCode.MODEL_REFUSED),
        ("ValueError: Failed to find a kernel that can implement the WNA16 linear layer", ExitCode.MODEL_REFUSED),
        ("safetensors_rust.SafetensorError: HeaderTooLarge", ExitCode.MODEL_REFUSED),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", ExitCode.GPU_OUT_OF_MEMORY),
        ("ValueError: To serve at least one request with the models's max seq len (9), (2 GiB KV cache is needed, "
         "which is larger than the available KV cache memory", ExitCode.BAD_OPTION),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", ExitCode.OUT_OF_MEMORY),
        ("AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'", ExitCode.KERNEL_MISSING),
        ("AttributeError: '_OpNamespace' '_moe_C' object has no attribute 'topk_softmax'\nRuntimeError: Engine core "
         "initialization failed. Failed to find a kernel", ExitCode.KERNEL_MISSING),
        ("AttributeError: 'Config' object has no attribute 'cpu_gemm_wna16'", ExitCode.EXITED),
        ("something odd", ExitCode.EXITED),
    ],
)  # fmt: skip
def test_deaths_have_reasons(log: str, code: ExitCode) -> None:
    assert ENGINE.explain_exit(ExitFacts(exit_code=1, log_tail=log)).code == code


def test_the_cache_is_counted_as_it_is_taken() -> None:
    found = estimate_of(ENGINE.memory_terms(FACTS, VllmOptions(cache_gib=2), CPU))
    assert found.bytes_of("kv_cache", "host") == 2 * GIB
    assert found.gpu_bytes == 0
    on_card = estimate_of(ENGINE.memory_terms(FACTS, VllmOptions(cache_gib=2), CARD))
    assert on_card.bytes_of("weights", "gpu") == FACTS.weights_bytes


def test_what_does_not_fit_is_offered_with_a_smaller_cache() -> None:
    options = VllmOptions(cache_gib=8)
    assert ENGINE.suggest(FACTS, options, CPU, Capacity(6 * GIB)) == "fits with a cache of 3 GiB"
    assert (
        ENGINE.suggest(FACTS, options, CPU, Capacity(60 * GIB))
        == ENGINE.suggest(FACTS, options, CPU, Capacity(1))
        == ""
    )


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ('INFO:     172.29.230.1:48250 - "GET /health HTTP/1.1" 200 OK', True),
        ('INFO:      - "GET /health HTTP/1.1" 200 OK', True),  # over a socket there is no address
        ('(APIServer pid=1) INFO:     172.29.230.1:48250 - "GET /metrics HTTP/1.1" 200 OK', True),
        ('INFO:     172.29.230.1:48250 - "GET /health HTTP/1.1" 503 Service Unavailable', False),
        ('INFO:     172.29.230.1:48250 - "POST /v1/completions HTTP/1.1" 200 OK', False),
        ('INFO:     172.29.230.1:48250 - "GET /health/x HTTP/1.1" 200 OK', False),
    ],
)
def test_only_answers_to_our_own_questions_are_left_out_of_the_log(line: str, is_ours: bool) -> None:
    assert ENGINE.is_our_asking(line) is is_ours


BEHIND_A_SECOND_TRACEBACK = """\
(EngineCore_DP0 pid=44) ERROR 11-22 10:00:01 [core.py:936] EngineCore failed to start.
(EngineCore_DP0 pid=44) ERROR 11-22 10:00:01 [core.py:936] Traceback (most recent call last):
(EngineCore_DP0 pid=44) ERROR 11-22 10:00:01 [core.py:936]     raise ValueError(
(EngineCore_DP0 pid=44) ERROR 11-22 10:00:01 [core.py:936] ValueError: The moon is in the wrong house.
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)     raise RuntimeError(
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_the_cause_stands_before_the_waiting_process_traceback() -> None:
    reason = ENGINE.explain_exit(ExitFacts(exit_code=1, log_tail=BEHIND_A_SECOND_TRACEBACK))
    assert "The moon is in the wrong house" in reason.message and "root cause above" not in reason.message


def test_a_missing_kernel_is_no_accident_and_says_what_runs_instead() -> None:
    log = "AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'\n"
    reason = ENGINE.explain_exit(ExitFacts(exit_code=1, log_tail=log))
    assert "this processor or GPU (it lacks cpu_gemm_wna16)" in reason.message and not reason.retry
    assert all(way in reason.advice for way in ("GGUF with llama.cpp", "INT8", "AVX-512", "GPU"))
