"""The llama.cpp adapter: what it starts, what it asks, what answers and log lines mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from webapp import engines
from webapp.engines.base import HardwareAllocation, ModelFiles
from webapp.engines.llamacpp.adapter import LlamaCpp
from webapp.engines.llamacpp.memory import settings_of
from webapp.engines.llamacpp.options import LlamaCppOptions
from webapp.planner.facts import KvGroup, ModelFacts
from webapp.planner.memory import estimate_of

ENGINE = LlamaCpp()
MODEL = ModelFiles("/models/7/model.gguf", "smollm2", "gguf")
CPU = HardwareAllocation("cpu", cpu_count=4)
GPU = HardwareAllocation("nvidia", ("GPU-1",), cpu_count=16)

# llama-server's own flags at 0c1e57098 (common/arg.cpp): nothing else may appear in argv.
FLAGS = {
    "--model": "value",
    "--alias": "value",
    "--host": "value",
    "--port": "value",
    "--ctx-size": "value",
    "--parallel": "value",
    "--threads": "value",
    "--threads-batch": "value",
    "--batch-size": "value",
    "--ubatch-size": "value",
    "--cache-type-k": "value",
    "--cache-type-v": "value",
    "--flash-attn": "value",
    "--cache-ram": "value",
    "--ctx-checkpoints": "value",
    "--gpu-layers": "value",
    "--fit": "value",
    "--load-mode": "value",
    "--embeddings": "",
    "--pooling": "value",
    "--metrics": "",
    "--no-webui": "",
    "--verbosity": "value",
}


def flags(options: LlamaCppOptions, hardware: HardwareAllocation = CPU) -> dict[str, str]:
    """argv as a dict; fails on anything that is not a known flag with its value."""
    rest = list(ENGINE.launch(MODEL, options, hardware).argv)
    found: dict[str, str] = {}
    while rest:
        flag = rest.pop(0)
        assert flag in FLAGS and flag not in found, flag
        found[flag] = rest.pop(0) if FLAGS[flag] else ""
    return found


def test_registry_has_it_and_names_what_there_is() -> None:
    assert isinstance(engines.get("llamacpp"), LlamaCpp)
    assert engines.names() == ("llamacpp", "vllm")
    with pytest.raises(KeyError, match="there is llamacpp, vllm"):
        engines.get("abacus")


def test_defaults_launch_on_a_cpu() -> None:
    spec = ENGINE.launch(MODEL, LlamaCppOptions(), CPU)
    found = flags(LlamaCppOptions())
    assert found["--model"] == "/models/7/model.gguf"
    assert (found["--host"], found["--port"], spec.port) == ("0.0.0.0", "8080", 8080)
    assert (found["--ctx-size"], found["--parallel"]) == ("8192", "2")  # every slot gets the context length
    assert (found["--threads"], found["--fit"], found["--verbosity"]) == ("4", "off", "4")
    assert "--gpu-layers" not in found and "--load-mode" not in found
    assert spec.upstream_model == found["--alias"] == "smollm2"
    assert spec.tmpfs == ("/tmp",)
    assert not any(name.startswith("LLAMA_ARG") for name in spec.env)


def test_on_a_socket_only_the_host_is_another() -> None:
    at_port = ENGINE.launch(MODEL, LlamaCppOptions(), CPU)
    at_socket = ENGINE.on_socket(at_port, "/run/modelyard/e.sock")
    changed = [(old, new) for old, new in zip(at_port.argv, at_socket.argv, strict=True) if old != new]
    assert changed == [("0.0.0.0", "/run/modelyard/e.sock")]


def test_context_of_a_slot_is_rounded_so_that_the_planner_and_the_server_agree() -> None:
    options = LlamaCppOptions(context_length=1000, parallel_slots=3)
    assert flags(options)["--ctx-size"] == str(1024 * 3) == str(settings_of(options, CPU).total_context)


@pytest.mark.parametrize(
    ("options", "hardware", "threads"),
    [
        ({}, CPU, "4"),
        ({"threads": 2}, CPU, "2"),
        ({"threads": 64}, CPU, "4"),
        ({}, HardwareAllocation("cpu", cpu_count=0), "1"),
        ({}, GPU, "8"),
        ({"gpu_layers": 10}, GPU, "16"),
    ],
)
def test_threads_never_exceed_the_allocation(
    options: dict[str, int], hardware: HardwareAllocation, threads: str
) -> None:
    assert flags(LlamaCppOptions(**options), hardware)["--threads"] == threads


@pytest.mark.parametrize(("layers", "flag"), [(-1, "9999"), (0, "0"), (12, "12")])
def test_layers_go_to_the_gpu_only_where_there_is_one(layers: int, flag: str) -> None:
    options = LlamaCppOptions(gpu_layers=layers)
    assert flags(options, GPU)["--gpu-layers"] == flag
    assert "--gpu-layers" not in flags(options, CPU)
    assert settings_of(options, CPU).gpu_layers == 0


def test_options_for_embeddings_and_files_in_memory() -> None:
    found = flags(LlamaCppOptions(embeddings=True, pooling="mean", memory_map=False))
    assert (found["--pooling"], found["--load-mode"]) == ("mean", "none")
    assert "--embeddings" in found
    assert "--pooling" not in flags(LlamaCppOptions(embeddings=True))


@pytest.mark.parametrize(
    ("model", "options", "hardware", "words"),
    [
        (ModelFiles("/m", "a", "safetensors"), {}, CPU, "not safetensors"),
        (ModelFiles("m.gguf", "a", "gguf"), {}, CPU, "absolute path"),
        (ModelFiles("/m.gguf", "--rpc", "gguf"), {}, CPU, "begin with a dash"),
        (MODEL, {"flash_attention": "off", "cache_type_v": "q8_0"}, CPU, "needs flash attention"),
        (MODEL, {"context_length": 1_048_576, "parallel_slots": 64}, CPU, "out of range"),
        (MODEL, {}, HardwareAllocation("abacus"), "no llama.cpp image"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_together_is_refused_with_a_sentence(
    model: ModelFiles, options: dict[str, object], hardware: HardwareAllocation, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ENGINE.launch(model, LlamaCppOptions.model_validate(options), hardware)


@pytest.mark.parametrize(
    "bad",
    [
        {"rpc": "evil:1"},
        {"extra_args": ["--rpc", "evil:1"]},
        {"context_length": 0},
        {"context_length": 10**9},
        {"parallel_slots": 0},
        {"parallel_slots": 65},
        {"threads": 0},
        {"cache_type_k": "q8_0; rm -rf /"},
        {"cache_type_k": "iq2_xs"},
        {"flash_attention": "--host"},
        {"pooling": "rank --rpc"},
        {"prompt_cache_mib": -1},
        {"gpu_layers": -2},
        {"micro_batch_size": "512 --log-file /etc/passwd"},
    ],
)
def test_options_are_typed_and_allow_listed(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LlamaCppOptions.model_validate(bad)


@given(st.text(min_size=1, max_size=40))
def test_any_name_and_path_stay_one_argument(text: str) -> None:
    try:
        argv = ENGINE.launch(ModelFiles(f"/models/{text}", text, "gguf"), LlamaCppOptions(), CPU).argv
    except ValueError:
        assert text.startswith("-")
        return
    assert argv[1] == f"/models/{text}"
    assert argv[3] == text
    assert set(argv[4:]).isdisjoint({"--rpc", "--log-file"})


def test_every_option_has_a_title_and_help() -> None:
    for name, field in LlamaCppOptions.model_fields.items():
        assert field.title and field.description, name


def test_cpu_prefers_the_image_built_here() -> None:
    assert ENGINE.images("cpu") == ("modelyard/llamacpp:cpu", "ghcr.io/ggml-org/llama.cpp:server")
    assert all(ENGINE.images(vendor) for vendor in ("nvidia", "amd", "intel"))
    assert ENGINE.images("abacus") == ()


MIB = 2**20


def test_memory_terms_follow_the_options() -> None:
    facts = ModelFacts(
        "llama", layers=2, weights_bytes=100 * MIB, mapped_bytes=100 * MIB, kv_groups=(KvGroup(2, 64, 64),)
    )
    small = ENGINE.memory_terms(facts, LlamaCppOptions(context_length=1024, parallel_slots=1), CPU)
    large = ENGINE.memory_terms(facts, LlamaCppOptions(context_length=1024, parallel_slots=4), CPU)
    kv = [next(term.bytes for term in terms if term.name == "kv_cache") for terms in (small, large)]
    assert kv == [2 * 1024 * 256, 4 * 2 * 1024 * 256]


def test_several_cards_share_the_weights_and_each_has_working_memory_of_its_own() -> None:
    pair = HardwareAllocation("nvidia", ("GPU-1", "GPU-2"), cpu_count=16)
    facts = ModelFacts("llama", layers=4, layer_bytes=(100, 100, 100, 100), weights_bytes=400, mapped_bytes=400)
    one, two = (estimate_of(ENGINE.memory_terms(facts, LlamaCppOptions(), grant)) for grant in (GPU, pair))
    assert one.bytes_of("weights") == two.bytes_of("weights")
    assert two.bytes_of("further_gpus") == one.bytes_of("compute_buffer") + 100, "whole layers do not divide evenly"
    assert ENGINE.accelerator_counts(facts, LlamaCppOptions())[:3] == (1, 2, 3)


def model(**facts: Any) -> ModelFiles:
    stored = ModelFacts("llama", **facts).as_json()
    return ModelFiles("/models/7/model.gguf", "smollm2", "gguf", json.loads(json.dumps(stored)))


@pytest.mark.parametrize(
    ("facts", "options", "pooling"),
    [
        ({"pooling": ""}, {"embeddings": True}, ["mean"]),
        ({"pooling": "none"}, {"embeddings": True}, ["mean"]),
        ({"pooling": "last"}, {"embeddings": True}, []),
        ({"pooling": None}, {"embeddings": True}, []),
        ({"pooling": ""}, {"embeddings": True, "pooling": "cls"}, ["cls"]),
        ({"pooling": ""}, {}, None),
        ({"pooling": "cls", "generates": False}, {}, []),
        ({"pooling": "", "generates": False}, {}, ["mean"]),
    ],
)
def test_embeddings_get_a_pooling_that_the_engine_serves(
    facts: dict[str, Any], options: dict[str, Any], pooling: list[str] | None
) -> None:
    argv = ENGINE.launch(model(**facts), LlamaCppOptions(**options), CPU).argv
    assert ("--embeddings" in argv) == (pooling is not None)
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "--pooling"] == (pooling or [])


@pytest.mark.parametrize(
    ("facts", "options", "vectors", "writes"),
    [
        ({}, {}, set(), True),
        ({}, {"embeddings": True}, {"embeddings"}, True),
        ({}, {"embeddings": True, "pooling": "rank"}, {"rerank"}, True),
        ({"pooling": "rank", "generates": False}, {}, {"rerank"}, False),
        ({"pooling": "mean", "generates": False}, {}, {"embeddings"}, False),
    ],
)
def test_it_offers_what_its_options_and_files_let_it_answer(
    facts: dict[str, Any], options: dict[str, Any], vectors: set[str], writes: bool
) -> None:
    offered = set(ENGINE.offers(LlamaCppOptions(**options), ModelFacts("llama", **facts)))
    assert offered & {"embeddings", "rerank"} == vectors
    assert ("chat/completions" in offered, "messages" in offered) == (writes, writes)
    assert offered <= set(ENGINE.endpoints)
