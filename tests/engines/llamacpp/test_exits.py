"""Why an engine died: every kind of death has its own name, a message and something to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.engines.base import ExitCode, ExitFacts, ExitReason
from webapp.engines.llamacpp.adapter import LlamaCpp

BAD_MAGIC = (
    "0.00.006 E gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'\n"
    "0.00.006 E srv    load_model: failed to load model, '/models/1/m.gguf'\n"
    "0.00.007 E srv  llama_server: exiting due to model loading error\n"
)
CUT_SHORT = (
    "E llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file bounds, "
    "model is corrupted or incomplete\n"
)
CUDA = (
    "0.02.000 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 7605.33 MiB on device 0: "
    "cudaMalloc failed: out of memory\n"
    "0.02.001 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 7974780928\n"
)
NO_IMAGE = "No such image: ghcr.io/ggml-org/llama.cpp:server-cuda"
BAD_ENTRY = (
    "failed to create task for container: OCI runtime create failed: runc create failed: unable to start container "
    'process: exec: "/llama-server": stat /llama-server: no such file or directory: unknown'
)


def why(**facts: object) -> ExitReason:
    return LlamaCpp().explain_exit(ExitFacts(**({"exit_code": 1} | facts)))  # type: ignore[arg-type]


EIGHT_DEATHS = [
    ({"exit_code": 137, "oom_killed": True}, ExitCode.OUT_OF_MEMORY),
    ({"exit_code": 3, "oom_killed": True}, ExitCode.OUT_OF_MEMORY),  # a child was killed for memory
    ({"exit_code": 137}, ExitCode.KILLED),
    ({"exit_code": 137, "daemon_restarted": True}, ExitCode.DAEMON_RESTART),
    ({"exit_code": 1, "log_tail": "something odd\n"}, ExitCode.EXITED),
    ({"exit_code": 1, "log_tail": CUDA}, ExitCode.GPU_OUT_OF_MEMORY),
    ({"exit_code": 137, "stop_requested": True}, ExitCode.STOPPED),
    ({"exit_code": 137, "health_failed": True}, ExitCode.UNHEALTHY),
]


@pytest.mark.parametrize(("facts", "code"), EIGHT_DEATHS)
def test_the_eight_deaths_are_told_apart(facts: dict[str, object], code: ExitCode) -> None:
    assert why(**facts).code == code


@pytest.mark.parametrize(
    ("log", "code", "words", "retry"),
    [
        (BAD_MAGIC, ExitCode.MODEL_REFUSED, "not a GGUF model", False),
        (CUT_SHORT, ExitCode.MODEL_REFUSED, "cut short", False),
        (
            "E llama_model_load: error loading model: unknown model architecture: 'qwen9'\n",
            ExitCode.MODEL_REFUSED,
            "does not know the model's architecture",
            False,
        ),
        (
            "E gguf_init_from_reader: this GGUF file is version 9 but this software only supports up to version 3\n",
            ExitCode.MODEL_REFUSED,
            "does not support the file's GGUF version",
            False,
        ),
        ("E srv load_model: failed to load model, '/m'\n", ExitCode.MODEL_REFUSED, "could not load the model", False),
        ("error: invalid argument: --nonsense\n", ExitCode.BAD_OPTION, "--nonsense", False),
        (
            'error while handling argument "-ctk": Unsupported cache type: q3\n',
            ExitCode.BAD_OPTION,
            "Unsupported cache type",
            False,
        ),
        (
            "E llama_init_from_model: failed to initialize the context: quantized V cache was requested, but this "
            "requires Flash Attention\n",
            ExitCode.BAD_OPTION,
            "quantized V cache",
            False,
        ),
        ("terminate called after throwing 'std::bad_alloc'\n", ExitCode.OUT_OF_MEMORY, "host memory", False),
        ("CUDA error: out of memory\n  current device: 0\n", ExitCode.GPU_OUT_OF_MEMORY, "GPU's memory", True),
        (
            "E ggml_vulkan: Device memory allocation of size 9 failed.\nvk::Device::allocateMemory: "
            "ErrorOutOfDeviceMemory\n",
            ExitCode.GPU_OUT_OF_MEMORY,
            "ErrorOutOfDeviceMemory",
            True,
        ),
        (
            "0.0 E srv start: couldn't bind HTTP server socket, hostname: 0.0.0.0, port: 8080\n",
            ExitCode.EXITED,
            "couldn't bind HTTP server socket",
            True,
        ),
    ],
)
def test_the_log_says_why(log: str, code: ExitCode, words: str, retry: bool) -> None:
    reason = why(log_tail="0.0 I srv init: initializing ...\n" + log)
    assert (reason.code, reason.retry) == (code, retry)
    assert words in reason.message
    assert reason.advice


@pytest.mark.parametrize(
    ("text", "exit_code", "code", "retry"),
    [
        (NO_IMAGE, None, ExitCode.IMAGE_MISSING, True),
        ("pull access denied for modelyard/llamacpp, repository does not exist", None, ExitCode.IMAGE_MISSING, False),
        ("manifest for ghcr.io/x:y not found: manifest unknown", None, ExitCode.IMAGE_MISSING, False),
        (BAD_ENTRY, 127, ExitCode.START_FAILED, False),
        ('exec: "python4": executable file not found in $PATH: unknown', 127, ExitCode.START_FAILED, False),
        ('could not select device driver "" with capabilities: [[gpu]]', None, ExitCode.START_FAILED, False),
        ("mkdir /var/lib/docker/x: no space left on device", None, ExitCode.START_FAILED, True),
        ("exec /entry: exec format error", 126, ExitCode.START_FAILED, False),
        ("something nobody has seen before", None, ExitCode.START_FAILED, True),
        ("", None, ExitCode.START_FAILED, True),
    ],
)
def test_containers_that_never_started(text: str, exit_code: int | None, code: ExitCode, retry: bool) -> None:
    reason = why(exit_code=exit_code, error_text=text)
    assert (reason.code, reason.retry) == (code, retry)
    assert reason.message and reason.advice
    if text:
        assert text.split(":")[0][:20] in reason.message


@pytest.mark.parametrize(
    ("exit_code", "words"), [(139, "a memory fault"), (132, "an illegal instruction"), (42, "code 42")]
)
def test_plain_exits_name_the_signal_or_the_code(exit_code: int, words: str) -> None:
    reason = why(exit_code=exit_code)
    assert reason.code == ExitCode.EXITED
    assert words in reason.message
    assert reason.retry is (exit_code != 132)


def test_end_without_being_asked_is_not_a_success() -> None:
    assert why(exit_code=0).code == ExitCode.EXITED


def test_our_own_stop_wins_over_everything_else() -> None:
    reason = why(exit_code=137, stop_requested=True, oom_killed=True, daemon_restarted=True, log_tail=CUDA)
    assert (reason.code, reason.retry) == (ExitCode.STOPPED, False)


def test_daemon_restart_does_not_excuse_a_bad_model() -> None:
    assert why(exit_code=1, daemon_restarted=True, log_tail=BAD_MAGIC).code == ExitCode.MODEL_REFUSED


def test_memory_that_sufficed_before_is_worth_another_try() -> None:
    assert not why(exit_code=137, oom_killed=True).retry
    assert why(exit_code=137, oom_killed=True, was_ready=True).retry


def test_sigterm_from_elsewhere_is_somebody_else() -> None:
    assert why(exit_code=143).code == ExitCode.KILLED


def test_complaints_are_quoted_without_their_stamp_and_bounded() -> None:
    reason = why(exit_code=9, log_tail="0.00.003.529 E srv init: " + "x" * 5000 + "\n")
    assert "0.00.003.529" not in reason.message
    assert len(reason.message) < 600


@given(
    st.builds(
        ExitFacts,
        exit_code=st.one_of(st.none(), st.integers(0, 255)),
        oom_killed=st.booleans(),
        error_text=st.text(max_size=50),
        stop_requested=st.booleans(),
        daemon_restarted=st.booleans(),
        log_tail=st.text(max_size=200),
        health_failed=st.booleans(),
    )
)
def test_every_death_has_a_reason(facts: ExitFacts) -> None:
    reason = LlamaCpp().explain_exit(facts)
    assert reason.message
    assert reason.advice or reason.code == ExitCode.STOPPED
