"""vLLM: safetensors models, quantised or not, many requests at once.

Facts are of vLLM 0.33 and, for processors, of 0.32 as measured here: the port opens only when the model is loaded;
SIGTERM aborts what runs; the cache is taken whole at the start, so its size is an option and not a guess.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from webapp.engines import processors
from webapp.engines.base import (
    Engine,
    EngineOptions,
    ExitFacts,
    ExitReason,
    HardwareAllocation,
    LaunchSpec,
    LogFact,
    ModelFiles,
    ProbeOutcome,
    ProbeSpec,
    Readiness,
)
from webapp.engines.metrics import Metrics
from webapp.engines.processors import UNKNOWN, Flags
from webapp.engines.vllm import exits, log, memory
from webapp.engines.vllm.images import IMAGES
from webapp.engines.vllm.metrics import METRICS
from webapp.engines.vllm.options import VllmOptions
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import GIB, Capacity, Term

# Integers of a few bits, unpacked as they are multiplied: the same kernel whoever packed them. The first is how
# configs of compressed-tensors that were not made here are called.
_PACKED = re.compile(r"(packed|AWQ|GPTQ)(?: (\d+)-bit)?")
# vLLM 0.32 brings libraries for AVX-512 and one for AVX2, and loads what the processor can run. The kernel of weights
# in 4 bits (cpu_gemm_wna16) is in the former alone, and not in the one for Arm. It takes no other number of bits:
# "Quant type (uint8b128) not supported by CPUWNA16". INT8 and FP8 have kernels everywhere.
_LEAST = ("avx2", "f16c")
_KERNEL_BITS, _KERNEL_FLAG = 4, "avx512f"
_NO_KERNEL = (
    "vLLM has no kernel for {name} with 4 bits on processors without AVX-512. "
    "Use GGUF with llama.cpp, INT8 or FP8, a host with AVX-512, or a GPU."
)


class Vllm(Engine):
    """vLLM's OpenAI server, official image or the one built here for processors: both take the same flags."""

    name: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM"
    formats: ClassVar[frozenset[str]] = frozenset({"safetensors"})
    endpoints: ClassVar[tuple[str, ...]] = (
        *("chat/completions", "completions", "responses", "messages", "messages/count_tokens"),
        *("models", "tokenize", "detokenize"),
    )
    Options: ClassVar[type[EngineOptions]] = VllmOptions
    port: ClassVar[int] = 8000
    stop_timeout_s: ClassVar[int] = 20  # it aborts requests at once; draining is our proxy's. 1 to 2 s measured
    metrics: ClassVar[Metrics | None] = METRICS
    splits_evenly: ClassVar[bool] = True
    past_training: ClassVar[str] = "vLLM refuses to start with more than the model's own configuration allows."
    token_counters: ClassVar[Mapping[str, str]] = {
        "chat/completions": "/tokenize",
        "completions": "/tokenize",
        "messages": "/v1/messages/count_tokens",
    }
    takes_socket: ClassVar[bool] = True

    def images(self, vendor: str) -> tuple[str, ...]:
        """Image references for that hardware, best first; empty when it cannot run there."""
        return IMAGES.get(vendor, ())

    def accelerator_counts(self, meta: ModelFacts, options: Any) -> tuple[int, ...]:
        """As many as were chosen, else powers of two, where all GPUs take as many of the attention heads.

        Raises ValueError for a chosen number that does not divide them.
        """
        assert isinstance(options, VllmOptions)
        chosen = options.tensor_parallel
        if chosen is None:
            return tuple(count for count in (1, 2, 4, 8) if _divides(meta, count))
        if not _divides(meta, chosen):
            heads = f"{meta.heads} attention heads and {meta.kv_heads} key-value heads"
            raise ValueError(f"{heads} cannot be divided among {chosen} GPUs (tensor parallel).")
        return (chosen,)

    def why_not_on(self, vendor: str, meta: ModelFacts, flags: Flags = UNKNOWN) -> str:
        """What the processors lack, else the kernels that vLLM lacks for them."""
        if vendor != "cpu":
            return ""
        missing = processors.lacking(flags, *_LEAST)
        if missing:
            need = " and ".join(missing)
            return f"vLLM needs {need}, which the processors lack. Use GGUF with llama.cpp, a newer host or a GPU."
        packed = _PACKED.fullmatch(meta.quantisation)
        if packed is None:
            return ""
        name = "packed integers" if packed[1] == "packed" else packed[1]
        bits = int(packed[2] or _KERNEL_BITS)
        has_kernel = not processors.lacking(flags, _KERNEL_FLAG) and not processors.is_arm(flags)
        if bits != _KERNEL_BITS:
            instead = "INT8, FP8, 4 bits or a GPU" if has_kernel else "INT8, FP8 or a GPU"
            return f"vLLM has no kernel for {name} with {bits} bits on processors. Use {instead}."
        return "" if has_kernel else _NO_KERNEL.format(name=name)

    def launch(self, model: ModelFiles, options: Any, hardware: HardwareAllocation) -> LaunchSpec:
        """argv, environment and limits. `options` is a VllmOptions; the model is its folder.

        Raises ValueError (a sentence for people) for a wrong format or hardware without image.
        """
        assert isinstance(options, VllmOptions)
        if model.format not in self.formats:
            raise ValueError(f"vLLM serves safetensors models, not {model.format}.")
        if not self.images(hardware.vendor):
            raise ValueError(f"There is no vLLM image for {hardware.vendor}.")
        if not model.path.startswith("/") or not model.alias or model.alias.startswith("-"):
            raise ValueError("The model needs an absolute path and a name that does not begin with a dash.")
        folder = model.path.rpartition("/")[0] or "/"
        argv = [folder, "--served-model-name", model.alias, "--host", "0.0.0.0", "--port", str(self.port)]  # noqa: S104
        argv += ["--max-model-len", str(options.context_length), "--max-num-seqs", str(options.parallel_slots)]
        argv += ["--dtype", options.data_type, "--kv-cache-dtype", options.cache_type]
        argv += [] if options.compile else ["--enforce-eager"]
        argv += ["--enable-prefix-caching" if options.prefix_caching else "--no-enable-prefix-caching"]
        if hardware.vendor != "cpu":
            gpus = max(1, len(hardware.device_ids))
            # The cache is counted per GPU, of which each holds an equal part.
            argv += ["--kv-cache-memory-bytes", str(options.cache_gib * GIB // gpus)]
            argv += ["--tensor-parallel-size", str(gpus)] if gpus > 1 else []
        environment = self._environment(options, hardware)
        return LaunchSpec(argv, environment, self.port, GIB, ("/tmp",), model.alias)  # noqa: S108

    def on_socket(self, launch: LaunchSpec, path: str) -> LaunchSpec:
        """`--uds` counts before host and port (vLLM's pull request 18097)."""
        return replace(launch, argv=[*launch.argv, "--uds", path])

    @staticmethod
    def _environment(options: VllmOptions, hardware: HardwareAllocation) -> dict[str, str]:
        environment = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HOME": "/tmp",  # noqa: S108
            # PyTorch asks for the name of the user, and the container's has none.
            "USER": "nobody",
            "VLLM_CACHE_ROOT": "/tmp/vllm",  # noqa: S108
        }
        if hardware.vendor == "cpu":
            environment |= {"VLLM_CPU_KVCACHE_SPACE": str(options.cache_gib), "OMP_WAIT_POLICY": "passive"}
        return environment

    def health_probe(self) -> ProbeSpec:
        """GET /health: open without a key; 503 when the engine behind it is dead."""
        return ProbeSpec("GET", "/health", timeout_s=2.0)

    def completion_probe(self, upstream_model: str, options: Any = None) -> ProbeSpec:
        """One token."""
        body = {"model": upstream_model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        return ProbeSpec("POST", "/v1/completions", json.dumps(body).encode(), timeout_s=30.0)

    def classify_health(self, outcome: ProbeOutcome) -> Readiness:
        """Refused while it loads: the container's state tells whether it is gone."""
        if outcome.status is None:
            return Readiness.REFUSED
        return Readiness.READY if outcome.status == 200 else Readiness.FAILED

    def classify_completion(self, outcome: ProbeOutcome) -> Readiness:
        """Ready only when something was computed."""
        if outcome.status is None:
            return Readiness.REFUSED
        try:
            reply = json.loads(outcome.body)
        except (ValueError, RecursionError):
            return Readiness.FAILED
        is_computed = outcome.status == 200 and isinstance(reply, dict) and bool(reply.get("choices"))
        return Readiness.READY if is_computed else Readiness.FAILED

    def parse_log(self, line: str) -> LogFact | None:
        """Stages of loading, sizes (keys are planner terms) and complaints."""
        return log.parse(line)

    def is_our_asking(self, line: str) -> bool:
        """Whether the line only says that we looked; the gateway lets nobody else ask for these."""
        return log.is_our_asking(line)

    def explain_exit(self, facts: ExitFacts) -> ExitReason:
        """Why it is not running, from everything known together."""
        return exits.explain(facts)

    def memory_terms(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation) -> list[Term]:
        """Weights, the cache as it was asked for, and what the programs take."""
        return list(memory.estimate(meta, options.cache_gib * GIB, _cards(hardware)).terms)

    def suggest(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation, headroom: Capacity) -> str:
        """A smaller cache."""
        return memory.suggest(meta, options.cache_gib * GIB, _cards(hardware), headroom)


def _divides(meta: ModelFacts, gpus: int) -> bool:
    """Whether vLLM can lay the heads on so many GPUs; heads that nobody has counted can be.

    Key-value heads are divided, or copied where there are fewer than GPUs (vLLM, model_executor/models/llama.py).
    """
    fewer, more = sorted((meta.kv_heads or gpus, gpus))
    return meta.heads % gpus == 0 and more % fewer == 0


def _cards(hardware: HardwareAllocation) -> int:
    """How many GPUs share the model; 0 on processors."""
    return 0 if hardware.vendor == "cpu" else max(1, len(hardware.device_ids))
