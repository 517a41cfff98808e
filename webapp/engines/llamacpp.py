"""llama.cpp's server: GGUF models on CPUs and GPUs.

Facts are of llama.cpp at 0c1e57098: flags from common/arg.cpp, behaviour from tools/server. The port opens before
the model is loaded and answers 503 until it is; SIGTERM is ignored while loading if the server is process 1.
"""

import json
from typing import Any, ClassVar, Literal

from pydantic import Field

from webapp.engines import llamacpp_exits, llamacpp_log
from webapp.engines.base import (
    EngineOptions,
    ExitFacts,
    ExitReason,
    HardwareGrant,
    LaunchSpec,
    LogFact,
    ModelFiles,
    ProbeOutcome,
    ProbeSpec,
    Readiness,
)
from webapp.engines.processors import UNKNOWN, Flags
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import MIB, Estimate, Settings, Term, estimate_llamacpp

CacheType = Literal["f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
GPU_THREADS = 8  # with every layer on the GPU more CPU threads only wait
ALL_LAYERS = 9999  # "all" is a word only newer builds know
MOST_CONTEXT = 4 * 2**20
MOST_GPUS = 16  # GGML_CUDA_MAX_DEVICES

_IMAGES: dict[str, tuple[str, ...]] = {
    "cpu": ("modelyard/llamacpp:cpu", "ghcr.io/ggml-org/llama.cpp:server"),
    "nvidia": ("ghcr.io/ggml-org/llama.cpp:server-cuda",),
    "amd": ("ghcr.io/ggml-org/llama.cpp:server-rocm", "ghcr.io/ggml-org/llama.cpp:server-vulkan"),
    "intel": ("ghcr.io/ggml-org/llama.cpp:server-intel", "ghcr.io/ggml-org/llama.cpp:server-vulkan"),
}


class LlamaCppOptions(EngineOptions):
    """What people may choose about a llama.cpp server."""

    context_length: int = Field(
        4096,
        ge=256,
        le=1_048_576,
        title="Context length",
        description="Tokens one request may use, prompt and answer together. Every slot gets as many; "
        "the cache grows with both. Rounded up to a multiple of 256.",
    )
    parallel_slots: int = Field(
        2, ge=1, le=64, title="Slots", description="Requests computed at the same time; further ones wait their turn."
    )
    threads: int | None = Field(
        None, ge=1, le=512, title="CPU threads", description="Empty: as many as the CPUs this replica may use."
    )
    batch_size: int = Field(
        2048, ge=32, le=16384, title="Batch", description="Prompt tokens taken up at once, over all slots."
    )
    micro_batch_size: int = Field(
        512,
        ge=32,
        le=16384,
        title="Micro batch",
        description="Prompt tokens computed in one pass. Larger is faster on GPUs and takes more working memory.",
    )
    cache_type_k: CacheType = Field(
        "f16", title="Cache type of keys", description="q8_0 takes half the memory of f16 at hardly any loss."
    )
    cache_type_v: CacheType = Field(
        "f16", title="Cache type of values", description="Anything below 16 bits needs flash attention."
    )
    gpu_layers: int = Field(
        -1,
        ge=-1,
        le=4096,
        title="Layers on the GPU",
        description="-1 puts all layers there; fewer let a model run that does not fit. No effect without a GPU.",
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        "auto", title="Flash attention", description="Attention that needs less memory; auto uses it where it can."
    )
    memory_map: bool = Field(
        True,
        title="Map the file into memory",
        description="Starts faster and shares the pages between replicas; off reads the whole file into memory.",
    )
    embeddings: bool = Field(
        False, title="Serve embeddings", description="Answers /v1/embeddings as well; for embedding models."
    )
    pooling: Literal["model", "mean", "cls", "last"] = Field(
        "model",
        title="Pooling of embeddings",
        description="How the vectors of the tokens become one. model: as the file says.",
    )
    prompt_cache_mib: int = Field(
        0,
        ge=0,
        le=1_048_576,
        title="Prompt cache (MiB)",
        description="Host memory for prompts of earlier conversations, so that they continue faster. "
        "Counted in full in the memory of the replica.",
    )
    context_checkpoints: int = Field(
        4,
        ge=0,
        le=32,
        title="Context checkpoints",
        description="Per slot: saved states that let models with sliding windows or recurrent layers go back in a "
        "conversation without computing it again. Other models make none.",
    )


class LlamaCpp:
    """llama-server, official image or one built here: both take the same flags."""

    name: ClassVar[str] = "llamacpp"
    title: ClassVar[str] = "llama.cpp"
    formats: ClassVar[frozenset[str]] = frozenset({"gguf"})
    endpoints: ClassVar[tuple[str, ...]] = ("chat/completions", "completions", "embeddings", "models")
    Options: ClassVar[type[EngineOptions]] = LlamaCppOptions
    port: ClassVar[int] = 8080
    stop_signal: ClassVar[str] = "SIGTERM"
    drain_s: ClassVar[int] = 30
    stop_timeout_s: ClassVar[int] = 10  # it drops requests at once and ends in under 2 s; draining is our proxy's
    read_only_root: ClassVar[bool] = True
    needs_init: ClassVar[bool] = True
    splits_evenly: ClassVar[bool] = False
    # Seen on its own HTTP listener: "Keep-Alive: timeout=5, max=100", and the end of the connection right behind.
    closes_after_stream: ClassVar[bool] = True

    def images(self, vendor: str) -> tuple[str, ...]:
        """Image references for that hardware, best first; empty when it cannot run there."""
        return _IMAGES.get(vendor, ())

    def accelerator_counts(self, meta: ModelFacts, options: Any) -> tuple[int, ...]:
        """Any number up to what ggml can address: it lays whole layers where memory is free."""
        return tuple(range(1, MOST_GPUS + 1))

    def why_not_on(self, vendor: str, meta: ModelFacts, flags: Flags = UNKNOWN) -> str:
        """It computes every type on everything.

        The image built here needs what processors.GGML names; the official one, which stands in for it, has code for
        older processors too.
        """
        return ""

    def launch(self, model: ModelFiles, options: Any, hardware: HardwareGrant) -> LaunchSpec:
        """argv, environment and limits. `options` is a LlamaCppOptions.

        Raises ValueError (a sentence for people) for a wrong format, hardware without image, or options that
        llama-server would refuse together.
        """
        assert isinstance(options, LlamaCppOptions)
        self._check(model, options, hardware)
        settings = self.settings(options, hardware)
        threads = str(self.threads(options, hardware))
        argv = ["--model", model.path, "--alias", model.alias, "--host", "0.0.0.0", "--port", str(self.port)]  # noqa: S104
        argv += ["--ctx-size", str(settings.total_context), "--parallel", str(options.parallel_slots)]
        argv += ["--threads", threads, "--threads-batch", threads]
        argv += ["--batch-size", str(options.batch_size), "--ubatch-size", str(settings.micro_batch)]
        argv += ["--cache-type-k", options.cache_type_k, "--cache-type-v", options.cache_type_v]
        argv += ["--flash-attn", options.flash_attention]
        argv += ["--cache-ram", str(options.prompt_cache_mib), "--ctx-checkpoints", str(options.context_checkpoints)]
        if hardware.vendor != "cpu":
            argv += ["--gpu-layers", str(ALL_LAYERS if options.gpu_layers < 0 else options.gpu_layers)]
        argv += ["--fit", "off"]  # else the server shrinks what was asked for without a word
        if not options.memory_map:
            argv += ["--load-mode", "none"]
        if options.embeddings:
            argv += ["--embeddings"]
            argv += ["--pooling", options.pooling] if options.pooling != "model" else []
        argv += ["--metrics", "--no-webui", "--verbosity", "4"]  # 4: the lines with buffer sizes
        return LaunchSpec(argv, self._environment(), self.port, 64 * MIB, ("/tmp",), model.alias)  # noqa: S108

    def _check(self, model: ModelFiles, options: LlamaCppOptions, hardware: HardwareGrant) -> None:
        if model.format not in self.formats:
            raise ValueError(f"llama.cpp serves GGUF files, not {model.format}.")
        if not self.images(hardware.vendor):
            raise ValueError(f"There is no llama.cpp image for {hardware.vendor}.")
        if not model.path.startswith("/") or not model.alias or model.alias.startswith("-"):
            raise ValueError("The model needs an absolute path and a name that does not begin with a dash.")
        if options.flash_attention == "off" and options.cache_type_v not in ("f16", "bf16", "f32"):
            raise ValueError(f"A {options.cache_type_v} cache of values needs flash attention: set it to auto or on.")
        if options.context_length * options.parallel_slots > MOST_CONTEXT:
            raise ValueError(f"{options.parallel_slots} slots of {options.context_length} tokens are out of range.")

    @staticmethod
    def _environment() -> dict[str, str]:
        # A bounded spin: with OpenMP's default, threads that wait burn the CPUs that the others need (a tenth of the
        # speed when the machine is busy); without any spin two idle cores are slower than one.
        return {
            "GOMP_SPINCOUNT": "10000",
            "GGML_NO_BACKTRACE": "1",
            "HF_HUB_OFFLINE": "1",
            "HOME": "/tmp",  # noqa: S108
            "LLAMA_CACHE": "/tmp",  # noqa: S108
        }

    @staticmethod
    def threads(options: LlamaCppOptions, hardware: HardwareGrant) -> int:
        """CPU threads: what was asked for, never more than the CPUs granted."""
        most = max(1, hardware.cpu_count)
        wanted = options.threads or most
        if options.threads is None and hardware.vendor != "cpu" and options.gpu_layers < 0:
            wanted = GPU_THREADS
        return min(wanted, most)

    @staticmethod
    def settings(options: LlamaCppOptions, hardware: HardwareGrant) -> Settings:
        """The options as the planner counts them."""
        return Settings(
            context=options.context_length,
            parallel=options.parallel_slots,
            cache_type_k=options.cache_type_k,
            cache_type_v=options.cache_type_v,
            batch=options.batch_size,
            micro_batch=min(options.micro_batch_size, options.batch_size),
            flash_attention=options.flash_attention != "off",
            gpu_layers=0 if hardware.vendor == "cpu" else options.gpu_layers,
            embeddings=options.embeddings,
            prompt_cache_bytes=options.prompt_cache_mib * MIB,
            checkpoints=options.context_checkpoints,
            gpus=max(1, len(hardware.device_ids)),
        )

    def health_probe(self) -> ProbeSpec:
        """GET /health: open without a key, answered at once."""
        return ProbeSpec("GET", "/health", timeout_s=2.0)

    def completion_probe(self, upstream_model: str, options: Any = None) -> ProbeSpec:
        """One token (one vector when the options serve embeddings)."""
        if isinstance(options, LlamaCppOptions) and options.embeddings:
            return _post("/v1/embeddings", {"model": upstream_model, "input": "ready?"})
        body = {"model": upstream_model, "prompt": "1", "max_tokens": 1, "temperature": 0, "cache_prompt": False}
        return _post("/v1/completions", body)

    def classify_health(self, outcome: ProbeOutcome) -> Readiness:
        """Refused, reset and late are one: the container's state tells whether it is gone."""
        if outcome.status is None:
            return Readiness.REFUSED
        if outcome.status == 200:
            return Readiness.READY
        return Readiness.LOADING if outcome.status == 503 else Readiness.FAILED

    def classify_completion(self, outcome: ProbeOutcome) -> Readiness:
        """Ready only when something was computed; 503 counts as loading only in llama.cpp's own words."""
        if outcome.status is None:
            return Readiness.REFUSED
        reply = _json_object(outcome.body)
        if outcome.status == 200:
            return Readiness.READY if _is_computed(reply) else Readiness.FAILED
        error = reply.get("error")
        kind = error.get("type") if isinstance(error, dict) else None
        return Readiness.LOADING if (outcome.status, kind) == (503, "unavailable_error") else Readiness.FAILED

    def parse_log(self, line: str) -> LogFact | None:
        """Stages of loading, buffer sizes (keys are planner terms) and complaints."""
        return llamacpp_log.parse(line)

    def is_our_asking(self, line: str) -> bool:
        """Whether the line only says that we looked; the gateway lets nobody else ask for these."""
        return llamacpp_log.is_our_asking(line)

    def explain_exit(self, facts: ExitFacts) -> ExitReason:
        """Why it is not running, from everything known together."""
        return llamacpp_exits.explain(facts)

    def estimate(self, meta: ModelFacts, options: Any, hardware: HardwareGrant) -> Estimate:
        """The memory it will take with these options on this hardware."""
        return estimate_llamacpp(meta, self.settings(options, hardware))

    def memory_terms(self, meta: ModelFacts, options: Any, hardware: HardwareGrant) -> list[Term]:
        """The same as a list of named terms that add up."""
        return list(self.estimate(meta, options, hardware).terms)


def _post(path: str, body: dict[str, Any]) -> ProbeSpec:
    # Behind other requests a probe waits for a slot: late is not failed, so the time is generous.
    return ProbeSpec("POST", path, json.dumps(body).encode(), timeout_s=30.0)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_computed(reply: dict[str, Any]) -> bool:
    return any(isinstance(reply.get(key), list) and reply[key] for key in ("choices", "data"))
