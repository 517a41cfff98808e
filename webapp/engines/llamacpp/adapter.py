"""llama.cpp's server: GGUF models on CPUs and GPUs.

Facts are of llama.cpp at 0c1e57098: flags from common/arg.cpp, behaviour from tools/server. The port opens before
the model is loaded and answers 503 until it is; SIGTERM is ignored while loading if the server is process 1.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from webapp.engines.base import (
    Capabilities,
    DeviceList,
    Engine,
    EngineOptions,
    ExitFacts,
    ExitReason,
    HardwareAllocation,
    LaunchSpec,
    LogFact,
    ModelFiles,
    Preset,
    ProbeOutcome,
    ProbeSpec,
    Readiness,
)
from webapp.engines.llamacpp import exits, log, memory
from webapp.engines.llamacpp.devices import DEVICE_LIST
from webapp.engines.llamacpp.images import IMAGES
from webapp.engines.llamacpp.metrics import METRICS
from webapp.engines.llamacpp.options import LlamaCppOptions
from webapp.engines.llamacpp.presets import PRESETS
from webapp.engines.metrics import Metrics
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import MIB, Capacity, Term

GPU_THREADS = 8  # with every layer on the GPU more CPU threads only wait
ALL_LAYERS = 9999  # "all" is a word only newer builds know
MOST_CONTEXT = 4 * 2**20
MOST_GPUS = 16  # GGML_CUDA_MAX_DEVICES


# Below /v1/, but for the last two; all of it asked of a server of that build.
_GENERATING = ("chat/completions", "completions", "responses", "messages", "messages/count_tokens")
_ALWAYS = ("models", "tokenize", "detokenize")


class LlamaCpp(Engine):
    """llama-server, official image or one built here: both take the same flags."""

    name: ClassVar[str] = "llamacpp"
    title: ClassVar[str] = "llama.cpp"
    formats: ClassVar[frozenset[str]] = frozenset({"gguf"})
    endpoints: ClassVar[tuple[str, ...]] = (*_GENERATING, "embeddings", "rerank", *_ALWAYS)
    Options: ClassVar[type[EngineOptions]] = LlamaCppOptions
    port: ClassVar[int] = 8080
    stop_timeout_s: ClassVar[int] = 10  # it drops requests at once and ends in under 2 s; draining is our proxy's
    # Seen on its own HTTP listener: "Keep-Alive: timeout=5, max=100", and the end of the connection right behind.
    closes_after_stream: ClassVar[bool] = True
    usage_per_choice: ClassVar[bool] = True
    token_counters: ClassVar[Mapping[str, str]] = {
        "chat/completions": "/v1/chat/completions/input_tokens",
        "responses": "/v1/responses/input_tokens",
        "messages": "/v1/messages/count_tokens",
        "completions": "/tokenize",
        "embeddings": "/tokenize",
    }
    ignored_members: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "embeddings": ("dimensions",),
        **dict.fromkeys(("chat/completions", "responses", "messages"), ("tool_choice",)),
    }
    takes_socket: ClassVar[bool] = True
    presets: ClassVar[tuple[Preset, ...]] = PRESETS
    metrics: ClassVar[Metrics | None] = METRICS
    device_list: ClassVar[DeviceList | None] = DEVICE_LIST

    def images(self, vendor: str) -> tuple[str, ...]:
        """The image built here needs what processors.GGML names; the official one has code for older ones too."""
        return IMAGES.get(vendor, ())

    def accelerator_counts(self, meta: ModelFacts, options: Any) -> tuple[int, ...]:
        """Any number up to what ggml can address: it lays whole layers where memory is free."""
        return tuple(range(1, MOST_GPUS + 1))

    def settled(self, options: Any, meta: ModelFacts) -> Any:
        """A model that writes nothing serves embeddings; where the header names no pooling it is the mean.

        Without one, embeddings are refused: "Pooling type 'none' is not OAI compatible".
        """
        assert isinstance(options, LlamaCppOptions)
        if not meta.generates:
            options = options.model_copy(update={"embeddings": True})
        if options.embeddings and options.pooling == "model" and meta.pooling in ("", "none"):
            options = options.model_copy(update={"pooling": "mean"})
        return options

    def offers(self, options: Any, meta: ModelFacts) -> tuple[str, ...]:
        """Text from models that write it, vectors or ranks where the options ask for them."""
        options = self.settled(options, meta)
        pooling = meta.pooling if options.pooling == "model" else options.pooling
        vectors = ("rerank" if pooling == "rank" else "embeddings",) if options.embeddings else ()
        return (*(_GENERATING if meta.generates else ()), *vectors, *_ALWAYS)

    def launch(self, model: ModelFiles, options: Any, hardware: HardwareAllocation) -> LaunchSpec:
        """argv, environment and limits. `options` is a LlamaCppOptions.

        Raises ValueError (a sentence for people) for a wrong format, hardware without image, or options that
        llama-server would refuse together.
        """
        assert isinstance(options, LlamaCppOptions)
        if model.metadata:
            options = self.settled(options, ModelFacts.from_json(model.metadata))
        self._check(model, options, hardware)
        settings = memory.settings_of(options, hardware)
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

    def on_socket(self, launch: LaunchSpec, path: str) -> LaunchSpec:
        """It takes a host that ends in .sock for a socket's path (since pull request 12613; tools/server)."""
        at = launch.argv.index("--host") + 1
        return replace(launch, argv=[*launch.argv[:at], path, *launch.argv[at + 1 :]])

    def _check(self, model: ModelFiles, options: LlamaCppOptions, hardware: HardwareAllocation) -> None:
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
    def threads(options: LlamaCppOptions, hardware: HardwareAllocation) -> int:
        """CPU threads: what was asked for, never more than the CPUs granted."""
        most = max(1, hardware.cpu_count)
        wanted = options.threads or most
        if options.threads is None and hardware.vendor != "cpu" and options.gpu_layers < 0:
            wanted = GPU_THREADS
        return min(wanted, most)

    def serves_embeddings(self, generates: bool, options: Mapping[str, Any]) -> bool:
        """An encoder can do nothing else; a server that was started for vectors is there for those."""
        return not generates or options.get("embeddings") is True

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

    def capabilities_probe(self) -> ProbeSpec | None:
        """GET /props: the template's own words, what goes in beside text, the context of a slot."""
        return ProbeSpec("GET", "/props", timeout_s=5.0)

    def read_capabilities(self, body: bytes) -> Capabilities:
        """A template without a place for tools leaves them out without a word."""
        found = _json_object(body)
        template, inputs, slot = (found.get(name) for name in _PROPS)
        context = slot.get("n_ctx") if isinstance(slot, dict) else None
        return Capabilities(
            tools=_fact(template, "supports_tools"),
            vision=_fact(inputs, "vision"),
            audio=_fact(inputs, "audio"),
            context_length=context if isinstance(context, int) and context > 0 else None,
        )

    def parse_log(self, line: str) -> LogFact | None:
        """Stages of loading, buffer sizes (keys are planner terms) and complaints."""
        return log.parse(line)

    def is_our_asking(self, line: str) -> bool:
        """Whether the line only says that we looked; the gateway lets nobody else ask for these."""
        return log.is_our_asking(line)

    def explain_exit(self, facts: ExitFacts) -> ExitReason:
        """Why it is not running, from everything known together."""
        return exits.explain(facts)

    def memory_terms(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation) -> list[Term]:
        """Weights, cache and working memory of all slots, and what the program takes beside them."""
        return list(memory.estimate(meta, memory.settings_of(options, hardware)).terms)

    def suggest(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation, headroom: Capacity) -> str:
        """A shorter context, a smaller cache, one slot, fewer layers on the GPU or a smaller quantisation."""
        return memory.suggest(meta, memory.settings_of(options, hardware), headroom).text


_PROPS = ("chat_template_caps", "modalities", "default_generation_settings")


def _fact(found: Any, name: str) -> bool | None:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, bool) else None


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
