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
# What llama.cpp prints for templates that do not parse, and that raise when they are looked into.
BROKEN_TEMPLATE = """\
0.00.826.173 E common_chat_templates_init: error: parser: Parser Error: Expected }} (Got })
...{% if x %}{{ messages }                                       ...
                         ^
0.00.826.333 E common_chat_templates_init: failed to initialize chat template
0.00.826.414 E common_chat_templates_init: please consider disabling jinja via --no-jinja
0.00.826.497 E srv          init: init: chat template parsing error: std::exception
0.00.826.583 E srv          init: init: please consider disabling jinja via --no-jinja, or use a custom chat template
0.00.826.641 E srv          init: init: for example: --no-jinja --chat-template chatml
0.00.826.701 I srv    operator(): operator(): cleaning up before exit...
0.00.833.589 E srv          init: exiting due to model loading error
"""
RAISING_TEMPLATE = """\
0.00.809.308 E srv          init: init: chat template parsing error: Unable to generate parser for this template.
------------
While executing CallExpression at line 1, column 19 in source:
...{{ raise_exception("this template cannot talk") }}             ...
                     ^
Error: Jinja Exception: this template cannot talk
0.00.809.360 E srv          init: init: please consider disabling jinja via --no-jinja, or use a custom chat template
0.00.815.372 E srv          init: exiting due to model loading error
"""
OUR_SERVERS_END = (
    "0.8 I srv init: listening on http://0.0.0.0:8080\nserver: stopping on SIGTERM, listening address was x\n"
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
        (CUT_SHORT, ExitCode.MODEL_REFUSED, "truncated", False),
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
        ("CUDA error: out of memory\n  current device: 0\n", ExitCode.GPU_OUT_OF_MEMORY, "Out of GPU memory", True),
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
    ("exit_code", "words"), [(139, "segmentation fault (SIGSEGV)"), (132, "illegal instruction"), (42, "code 42")]
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


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"exit_code": 143}, "docker stop or similar: SIGTERM, exit code 143"),
        ({"exit_code": 137}, "docker kill or similar: SIGKILL, exit code 137"),
        ({"exit_code": 137, "signal_sent": "SIGTERM"}, "docker stop or similar: SIGTERM, exit code 137"),
        ({"exit_code": 0, "signal_sent": "SIGTERM"}, "docker stop or similar: SIGTERM, exit code 0"),
        ({"exit_code": 0, "log_tail": OUR_SERVERS_END}, "SIGTERM, exit code 0"),
        ({"exit_code": 0, "log_tail": "0.09 I srv    operator(): operator(): cleaning up before exit...\n"}, "SIGTERM"),
        ({"exit_code": 0, "signal_sent": "SIGTERM", "log_tail": CUDA}, "SIGTERM"),
    ],
)
def test_a_stop_from_outside_is_said_to_be_one_whatever_the_program_ends_with(
    facts: dict[str, object], words: str
) -> None:
    reason = why(was_ready=True, **facts)
    assert (reason.code, reason.retry) == (ExitCode.KILLED, True)
    assert reason.message.startswith("The container was stopped externally (") and words in reason.message


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"oom_killed": True}, ExitCode.OUT_OF_MEMORY),
        ({"health_failed": True}, ExitCode.UNHEALTHY),
        ({"daemon_restarted": True}, ExitCode.DAEMON_RESTART),
        ({"stop_requested": True}, ExitCode.STOPPED),
        ({"shut_down": True}, ExitCode.SHUT_DOWN),
    ],
)
def test_a_signal_that_has_a_better_reason_is_nobody_elses(facts: dict[str, object], code: ExitCode) -> None:
    assert why(exit_code=137, signal_sent="SIGKILL", **facts).code == code


@pytest.mark.parametrize("exit_code", [0, 137, 143])
def test_what_make_down_stopped_was_not_stopped_by_somebody_else(exit_code: int) -> None:
    reason = why(was_ready=True, shut_down=True, exit_code=exit_code, signal_sent="SIGTERM")
    assert (reason.code, reason.retry) == (ExitCode.SHUT_DOWN, True)
    assert reason.message == "Stopped with Modelyard itself, by `make down`."


@pytest.mark.parametrize("facts", [{"exit_code": 1}, {"exit_code": 137, "oom_killed": True}])
def test_what_died_by_itself_while_modelyard_went_down_says_why_it_died(facts: dict[str, object]) -> None:
    assert why(was_ready=True, shut_down=True, **facts).code != ExitCode.SHUT_DOWN


def test_an_end_without_a_signal_is_its_own() -> None:
    assert "exited on its own" in why(exit_code=0, log_tail="0.09 I srv init: listening\n").message


@pytest.mark.parametrize(
    ("log", "words"), [(BROKEN_TEMPLATE, "Expected }} (Got })"), (RAISING_TEMPLATE, "cannot talk")]
)
def test_a_broken_template_is_named_although_loading_failed_is_said_last(log: str, words: str) -> None:
    reason = why(log_tail=log)
    assert reason.code == ExitCode.MODEL_REFUSED and not reason.retry
    assert "chat template" in reason.message and words in reason.message
    assert "another download of it does not help" in reason.advice


def test_a_failed_load_that_is_not_known_is_told_with_its_cause_and_not_with_its_end() -> None:
    log = (
        "0.01 E llama_init_from_model: the moon is in the wrong house\n"
        "0.02 E cmn  common_init_: failed to load model '/models/1/m.gguf'\n"
        "0.03 E srv          init: exiting due to model loading error\n"
    )
    assert "(llama_init_from_model: the moon is in the wrong house)" in why(log_tail=log).message
    unbound = "0.0 E srv start: couldn't bind HTTP server socket\n0.1 E srv init: exiting due to HTTP server error\n"
    assert "couldn't bind" in why(log_tail=unbound).message


def test_what_was_loaded_once_did_not_fail_to_load() -> None:
    reason = why(exit_code=139, was_ready=True, log_tail="error: invalid argument: x\n" + BAD_MAGIC)
    assert reason.code == ExitCode.EXITED


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
