"""What llama-server's log says: stages of loading, sizes, and which lines only answer our own questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.engines.base import LogFact
from webapp.engines.llamacpp.adapter import LlamaCpp
from webapp.engines.llamacpp.log import reported

ENGINE = LlamaCpp()
MIB = 2**20


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (
            "0.00.491.161 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB",
            LogFact("buffer", "weights", round(92.10 * MIB), None, "model", "CPU_Mapped"),
        ),
        (
            "load_tensors:   CPU_REPACK model buffer size =    55.50 MiB",
            LogFact("buffer", "repack", round(55.5 * MIB), None, "model", "CPU_REPACK"),
        ),
        (
            "0.00.494.155 I llama_kv_cache:        CPU KV buffer size =    45.00 MiB",
            LogFact("buffer", "kv_cache", 45 * MIB, None, "KV", "CPU"),
        ),
        (
            "llama_memory_recurrent:      CUDA0 RS buffer size =     1.50 MiB",
            LogFact("buffer", "recurrent_state", round(1.5 * MIB), None, "RS", "CUDA0"),
        ),
        (
            "I llama_kv_cache: RPC0[rpc1:50052] KV buffer size = 24.00 MiB",
            LogFact("buffer", "kv_cache", 24 * MIB, None, "KV", "RPC0[rpc1:50052]"),
        ),
        (
            "0.00.494.042 I llama_context:        CPU  output buffer size =     0.19 MiB",
            LogFact("buffer", "output_buffer", round(0.19 * MIB), None, "output", "CPU"),
        ),
        (
            "0.00.428.132 I load_tensors: offloaded 31/31 layers to GPU",
            LogFact("progress", "offloaded", text="31 of 31 layers on the GPU"),
        ),
        (
            "0.00.595.252 I srv          init: model loaded",
            LogFact("progress", "loaded", fraction=1.0, text="model loaded"),
        ),
        (
            "0.00.003.528 E srv         start: couldn't bind HTTP server socket, hostname: 0.0.0.0, port: 8080",
            LogFact(
                "error",
                "error",
                text="srv         start: couldn't bind HTTP server socket, hostname: 0.0.0.0, port: 8080",
            ),
        ),
        ("error: invalid argument: --nonsense", LogFact("error", "error", text="error: invalid argument: --nonsense")),
        ("0.00.520.554 I llama_kv_cache: size =   45.00 MiB (  2048 cells,  30 layers,  1/1 seqs)", None),
        ("", None),
        ("0.01.000.000 I slot print_timing: id  0 | task 0 | prompt eval time = 12.00 ms", None),
        ("x" * 5000 + " CPU KV buffer size = 45.00 MiB", None),
    ],
)
def test_log_lines(line: str, fact: LogFact | None) -> None:
    assert ENGINE.parse_log(line) == fact


def test_stages_of_a_real_load_only_move_forward() -> None:
    lines = [
        "0.00.005.598 I srv    load_model: loading model '/models/1/m.gguf'",
        "0.00.256.441 I llama_model_loader: loaded meta data with 33 key-value pairs and 272 tensors from /m.gguf",
        "0.00.428.132 I load_tensors: loading model tensors, this can take a while... (load_mode = mmap)",
        "0.00.493.999 I llama_context: constructing llama_context",
        "0.00.523.733 I cmn  common_init_: warming up the model with an empty run - please wait ...",
        "0.00.592.060 I srv    load_model: initializing, n_slots = 1, n_ctx_slot = 2048, kv_unified = 'false'",
        "0.00.595.252 I srv          init: model loaded",
    ]
    facts = [ENGINE.parse_log(line) for line in lines]
    fractions = [fact.fraction for fact in facts if fact is not None and fact.fraction is not None]
    assert len(fractions) == len(lines)
    assert fractions == sorted(set(fractions)) and fractions[-1] == 1.0


def test_sizes_of_a_log_are_those_of_its_last_load() -> None:
    load = ["I srv load_model: loading model 'a'", "CPU_Mapped model buffer size = 10.00 MiB"]
    rest = ["CUDA0 model buffer size = 5.00 MiB", "CPU KV buffer size = 1.00 MiB", "CPU KV buffer size = 2.00 MiB"]
    again = ["CPU compute buffer size = 7.00 MiB", "CPU compute buffer size = 8.00 MiB"]
    expected = {"weights": 15 * MIB, "kv_cache": 3 * MIB, "compute_buffer": 8 * MIB}
    assert reported(load + rest + again) == expected
    assert reported(load * 3 + rest + again) == expected


@given(st.text(max_size=300))
def test_any_line_is_read_without_an_error(line: str) -> None:
    ENGINE.parse_log(line)


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("0.02.035.048 I srv  update_slots: all slots are idle", True),
        ("srv  update_slots: all slots are idle", True),
        ("srv  log_server_r: request: GET /health 172.29.230.1 200", True),
        ("srv  log_server_r: request: GET /health  200", True),  # over a socket there is no address
        ("0.02.035.048 I srv  log_server_r: request: GET /metrics 172.29.230.1 200", True),
        ("srv  log_server_r: request: GET /health 172.29.230.1 503", False),
        ("srv  log_server_r: request: POST /v1/completions 172.29.230.1 200", False),
        ("srv  log_server_r: request: GET /v1/models 172.29.230.1 200", False),
        ("somebody wrote: all slots are idle", False),
        ("x" * 5000 + "request: GET /health 172.29.230.1 200", False),
    ],
)
def test_only_answers_to_our_own_questions_are_left_out_of_the_log(line: str, is_ours: bool) -> None:
    assert ENGINE.is_our_asking(line) is is_ours
