"""How much memory one replica takes, as named terms that add up.

The rules are llama.cpp's (0c1e57098): cells per slot from src/llama-context.cpp, cache rows from
src/llama-kv-cache.cpp and llama-kv-cache-iswa.cpp, the output buffer from llama_context::output_reserve. Weights,
cache and output are exact; compute buffers depend on the whole graph and are estimated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from webapp.planner import ggml
from webapp.planner.facts import Basis, ModelFacts

MIB = 2**20
GIB = 2**30
CELL_STEP = 256  # llama.cpp rounds the context of a slot up to this
# Anonymous memory beside the named buffers, measured with a vocabulary of 49,152: 6 MiB in the compiled server,
# 19 MiB where it runs inside Python. The middle of the two, a third of it growing with the vocabulary.
PROCESS_BYTES = 8 * MIB
VOCABULARY_BYTES_PER_TOKEN = 100
GPU_CONTEXT_BYTES = 300 * MIB  # CUDA context and libraries per device; an assumption until measured

Place = Literal["host", "gpu"]


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the memory. `label` is one line for people; `place` says which memory it lies in."""

    name: str
    label: str
    bytes: int
    basis: Basis
    place: Place = "host"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a launch chooses that costs memory. `context` is per slot, in tokens."""

    context: int = 4096
    parallel: int = 1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch: int = 2048
    micro_batch: int = 512
    flash_attention: bool = True
    gpu_layers: int = 0  # -1: all of them
    embeddings: bool = False
    prompt_cache_bytes: int = 0  # the most that idle prompts may keep in host memory
    checkpoints: int = 0  # per slot; only models with windows or recurrent layers make any
    repack: bool = True  # the CPU code's own copy of some tensor types
    cache_bytes: int = 0  # of engines that take their whole cache at the start
    gpus: int = 1  # that share the model

    @property
    def cells_per_slot(self) -> int:
        """Cells of the cache that one slot gets: llama.cpp rounds up to 256."""
        return max(CELL_STEP, -(-self.context // CELL_STEP) * CELL_STEP)

    @property
    def total_context(self) -> int:
        """llama-server's -c: all slots together."""
        return self.cells_per_slot * self.parallel


@dataclass(frozen=True, slots=True)
class Estimate:
    """Terms that add up, and what they were computed from."""

    terms: tuple[Term, ...]
    facts: ModelFacts
    settings: Settings
    engine: str = "llamacpp"

    @property
    def total_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)

    @property
    def host_bytes(self) -> int:
        return sum(term.bytes for term in self.terms if term.place == "host")

    @property
    def gpu_bytes(self) -> int:
        return sum(term.bytes for term in self.terms if term.place == "gpu")

    @property
    def basis(self) -> Basis:
        """The weakest basis among the terms that make up at least 5 % of the total."""
        order: list[Basis] = ["exact", "config", "estimate"]
        heavy = [term.basis for term in self.terms if term.bytes * 20 >= self.total_bytes]
        return max(heavy, key=order.index, default="exact")

    def bytes_of(self, name: str, place: Place | None = None) -> int:
        """The sum of the terms of that name (in one place, or both)."""
        return sum(term.bytes for term in self.terms if term.name == name and place in (None, term.place))


@dataclass(frozen=True, slots=True)
class Capacity:
    """Memory that is free for one replica."""

    host_bytes: int
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it fits; if not, how much is missing where, and the nearest change that would fit."""

    fits: bool
    missing_host_bytes: int = 0
    missing_gpu_bytes: int = 0
    suggestion: str = ""  # "fits with context 16384"; empty when nothing we know of helps
    settings: Settings | None = None  # the changed settings, when the suggestion is a change of settings

    def __bool__(self) -> bool:
        return self.fits


def estimate(
    facts: ModelFacts,
    engine: str = "llamacpp",
    *,
    context: int = 4096,
    parallel: int = 1,
    cache_type: str = "f16",
    cache_type_v: str | None = None,
    batch: int = 2048,
    micro_batch: int = 512,
    gpu_layers: int = 0,
) -> Estimate:
    """The memory of one replica, for callers that have plain numbers. `context` is per slot.

    Raises KeyError for an engine or cache type without a memory model.
    """
    settings = Settings(
        context=context,
        parallel=parallel,
        cache_type_k=cache_type,
        cache_type_v=cache_type_v or cache_type,
        batch=batch,
        micro_batch=micro_batch,
        gpu_layers=gpu_layers,
    )
    return ESTIMATORS[engine](facts, settings)


def estimate_llamacpp(facts: ModelFacts, settings: Settings) -> Estimate:
    """All terms of a llama.cpp server with these settings. Terms of zero bytes are left out."""
    share = _gpu_share(facts, settings)
    terms: list[Term] = []
    terms += _weights(facts, settings)
    terms += _split("kv_cache", _kv_label(settings), kv_bytes(facts, settings), facts.kv_basis, share)
    state = facts.recurrent_bytes * settings.parallel
    terms += _split("recurrent_state", "State of recurrent layers", state, "config", share)
    compute = compute_bytes(facts, settings)
    terms += _split(
        "compute_buffer", "Working memory of the computation", compute, _compute_basis(facts), 1 if share else 0
    )
    terms.append(Term("output_buffer", "Results of one step", output_bytes(facts, settings), "exact"))
    if settings.repack and not share:
        terms.append(Term("repack", "Second copy of weights in the CPU's order", facts.repack_bytes, "config"))
    terms.append(Term("checkpoints", "Saved windows, at most", checkpoint_bytes(facts, settings), "config"))
    terms.append(Term("prompt_cache", "Prompts kept for reuse, at most", settings.prompt_cache_bytes, "config"))
    overhead = PROCESS_BYTES + facts.vocabulary * VOCABULARY_BYTES_PER_TOKEN
    terms.append(Term("process_overhead", "Program, tokenizer and buffers", overhead, "estimate"))
    if share:
        terms.append(_gpu_context(settings))
        # Each further GPU has working memory of its own, and whole layers do not divide evenly.
        further = (settings.gpus - 1) * (compute + max(facts.layer_bytes, default=0))
        terms.append(Term("further_gpus", "Working memory of further GPUs, uneven layers", further, "estimate", "gpu"))
    return Estimate(tuple(term for term in terms if term.bytes), facts, settings)


def _gpu_context(settings: Settings) -> Term:
    return Term(
        "gpu_context", "Driver and libraries on the GPU", settings.gpus * GPU_CONTEXT_BYTES, "estimate", "gpu"
    )  # fmt: skip


# vLLM 0.32 for processors with a model of 135 M parameters, PSS: 0.6 GB the API's process, 0.5 GB the engine core's,
# and the worker's 0.8 GB beside its cache, weights of 0.27 GB included.
VLLM_PROGRAM_BYTES = 1_700 * MIB
# Activations of one step: measured for no card here, a tenth of the weights and never less than this.
VLLM_ACTIVATION_BYTES = 256 * MIB


def estimate_vllm(facts: ModelFacts, settings: Settings) -> Estimate:
    """All terms of a vLLM server. On a card weights, cache and activations lie there and the programs on the host."""
    share = 1.0 if settings.gpu_layers else 0.0
    activations = max(VLLM_ACTIVATION_BYTES, facts.weights_bytes // 10)
    terms = _split("weights", "Weights", facts.weights_bytes, "exact", share)
    terms += _split("kv_cache", "Cache of all requests together", settings.cache_bytes, "exact", share)
    terms += _split("compute_buffer", "Working memory of the computation", activations, "estimate", share)
    terms.append(Term("process_overhead", "Programs and libraries", VLLM_PROGRAM_BYTES, "estimate"))
    if share:
        terms.append(_gpu_context(settings))
        further = (settings.gpus - 1) * activations
        terms.append(Term("further_gpus", "Working memory of further GPUs", further, "estimate", "gpu"))
    return Estimate(tuple(term for term in terms if term.bytes), facts, settings, "vllm")


ESTIMATORS: dict[str, Callable[[ModelFacts, Settings], Estimate]] = {
    "llamacpp": estimate_llamacpp,
    "vllm": estimate_vllm,
}


def kv_bytes(facts: ModelFacts, settings: Settings) -> int:
    """Bytes of the key-value cache over all slots, exactly as llama.cpp allocates it.

    Layers with a sliding window get window + micro batch cells (rounded up to 256) where that is less. Without
    flash attention every layer's values are padded to the widest layer's.
    """
    key, value = ggml.cache_type(settings.cache_type_k), ggml.cache_type(settings.cache_type_v)
    widest = max((group.value_elements for group in facts.kv_groups), default=0)
    total = 0
    for group in facts.kv_groups:
        values = group.value_elements if settings.flash_attention or not group.value_elements else widest
        row = key.size_of(group.key_elements) + value.size_of(values)
        total += group.layers * _cells(group.window, settings) * row * settings.parallel
    return total


def _rows(settings: Settings) -> int:
    """Tokens computed in one pass."""
    return min(settings.micro_batch, settings.batch, settings.total_context)


def _cells(window: int, settings: Settings) -> int:
    """Cells of one slot in a layer with that window (0: none)."""
    if not window:
        return settings.cells_per_slot
    wanted = min(settings.cells_per_slot, window + _rows(settings))
    return -(-wanted // CELL_STEP) * CELL_STEP


def output_bytes(facts: ModelFacts, settings: Settings) -> int:
    """Bytes for the scores of one token per slot (and its embedding, when those are served)."""
    width = facts.vocabulary + (facts.embedding_length if settings.embeddings else 0)
    return settings.parallel * width * 4


def compute_bytes(facts: ModelFacts, settings: Settings) -> int:
    """Bytes of the graph's working memory.

    Five rows of the embedding's width per token of a micro batch; on top of them whichever is largest of the
    feed-forward part (three rows per active expert), the scores of the vocabulary for all slots and, without flash
    attention, those of every head over the cache; one attention mask per kind of window. Found by measuring llama,
    mixture, gemma and deepseek shapes over contexts, slots and micro batches: within 0.1 MiB there, unproven elsewhere.
    """
    rows = _rows(settings)
    active = max(1, facts.experts_used) * 3 * facts.feed_forward_length
    widest = max(rows * active, settings.parallel * facts.vocabulary)
    if not settings.flash_attention:
        cached = max((group.key_elements + group.value_elements for group in facts.kv_groups), default=0)
        heads = settings.cells_per_slot * facts.heads
        widest = max(widest, rows * (facts.embedding_length + cached + heads))
    mask = rows * sum({_cells(group.window, settings) for group in facts.kv_groups})
    mask_item_bytes = 2 if settings.flash_attention else 4
    return (rows * 5 * facts.embedding_length + widest) * 4 + mask * mask_item_bytes


def checkpoint_bytes(facts: ModelFacts, settings: Settings) -> int:
    """The most that saved states of windows and recurrent layers can take: what cannot be rolled back is copied."""
    windowed = replace(facts, kv_groups=tuple(group for group in facts.kv_groups if group.window))
    return settings.checkpoints * (kv_bytes(windowed, settings) + facts.recurrent_bytes * settings.parallel)


def fits(estimate: Estimate, capacity: Capacity) -> Verdict:
    """Whether there is room, and otherwise the nearest change that would fit.

    Tried in this order: a shorter context, a cache of half the size, one slot, fewer layers on the GPU, a smaller
    quantisation.
    """
    missing_host = max(0, estimate.host_bytes - capacity.host_bytes)
    missing_gpu = max(0, estimate.gpu_bytes - capacity.gpu_bytes)
    if not missing_host and not missing_gpu:
        return Verdict(True)
    suggestion, settings = _nearest(estimate, capacity)
    return Verdict(False, missing_host, missing_gpu, suggestion, settings)


def _nearest(estimate: Estimate, capacity: Capacity) -> tuple[str, Settings | None]:
    settings = estimate.settings
    if settings.cache_bytes:
        return _smaller_whole_cache(estimate, capacity)
    small_cache = replace(settings, cache_type_k="q8_0", cache_type_v="q8_0")
    tries: list[tuple[str, Settings]] = [("", settings)]
    if settings.flash_attention and settings.cache_type_k == "f16" == settings.cache_type_v:
        tries.append(("a q8_0 cache", small_cache))
    if settings.parallel > 1:
        tries += [("one slot", replace(settings, parallel=1))]
    for words, changed in tries:
        if words and _has_room(estimate.facts, changed, capacity):
            return f"fits with {words}", changed
        context = _longest_context(estimate.facts, changed, capacity)
        if context and context >= min(2048, settings.context // 4):
            return f"fits with {f'{words} and ' if words else ''}context {context}", replace(changed, context=context)
    layers = _most_gpu_layers(estimate.facts, settings, capacity)
    if layers is not None:
        return f"fits with {layers} layers on the GPU", replace(settings, gpu_layers=layers)
    return _smaller_quantisation(estimate, capacity), None


def _smaller_whole_cache(estimate: Estimate, capacity: Capacity) -> tuple[str, Settings | None]:
    """For engines that take their cache at the start: the largest whole GiB below the wanted size that fits."""
    for size in range(estimate.settings.cache_bytes // GIB - 1, 0, -1):
        changed = replace(estimate.settings, cache_bytes=size * GIB)
        found = ESTIMATORS[estimate.engine](estimate.facts, changed)
        if found.host_bytes <= capacity.host_bytes and found.gpu_bytes <= capacity.gpu_bytes:
            return f"fits with a cache of {size} GiB", changed
    return "", None


def _has_room(facts: ModelFacts, settings: Settings, capacity: Capacity) -> bool:
    found = estimate_llamacpp(facts, settings)
    return found.host_bytes <= capacity.host_bytes and found.gpu_bytes <= capacity.gpu_bytes


def _longest_context(facts: ModelFacts, settings: Settings, capacity: Capacity) -> int:
    """The longest context below the wanted one that fits, in whole steps; 0 when not even one step does."""
    low, high = 0, (settings.cells_per_slot - 1) // CELL_STEP
    while low < high:
        middle = (low + high + 1) // 2
        if _has_room(facts, replace(settings, context=middle * CELL_STEP), capacity):
            low = middle
        else:
            high = middle - 1
    return low * CELL_STEP


def _most_gpu_layers(facts: ModelFacts, settings: Settings, capacity: Capacity) -> int | None:
    if not settings.gpu_layers:
        return None
    most = facts.layers if settings.gpu_layers < 0 else min(settings.gpu_layers - 1, facts.layers)
    for layers in range(most, 0, -1):
        if _has_room(facts, replace(settings, gpu_layers=layers), capacity):
            return layers
    return None


# Bits per weight of whole files, measured on Llama-3.1-8B (llama.cpp tools/quantize/README.md).
SMALLER = (("Q8_0", 8.5), ("Q6_K", 6.56), ("Q5_K_M", 5.70), ("Q4_K_M", 4.89), ("Q3_K_M", 4.0), ("Q2_K", 3.16))


def _smaller_quantisation(estimate: Estimate, capacity: Capacity) -> str:
    facts = estimate.facts
    weights = facts.mapped_bytes or facts.weights_bytes
    room = (capacity.gpu_bytes or capacity.host_bytes) - max(
        0, (estimate.gpu_bytes if estimate.gpu_bytes else estimate.host_bytes) - weights
    )
    for name, bits in SMALLER:
        if bits < facts.bits_per_weight and facts.parameters * bits / 8 <= room:
            return f"fits as {name}"
    return ""


def _gpu_share(facts: ModelFacts, settings: Settings) -> float:
    """The part of the layers that lies on the GPU, 0..1."""
    if not settings.gpu_layers or not facts.layers:
        return 0.0
    return 1.0 if settings.gpu_layers < 0 else min(1.0, settings.gpu_layers / facts.layers)


def _split(name: str, label: str, size: int, basis: Basis, share: float) -> list[Term]:
    on_gpu = round(size * share)
    return [Term(name, label, on_gpu, basis, "gpu"), Term(name, label, size - on_gpu, basis)]


def _weights(facts: ModelFacts, settings: Settings) -> list[Term]:
    """The token embedding stays on the host; a tied one is copied to the GPU as the output matrix."""
    label = f"Weights ({facts.quantisation})" if facts.quantisation else "Weights"
    whole = facts.mapped_bytes or facts.weights_bytes
    if not settings.gpu_layers:
        repacked = settings.repack and facts.repack_bytes
        return [Term("weights", label, facts.kept_bytes if repacked else whole, "exact")]
    layers = facts.layer_bytes
    count = len(layers) if settings.gpu_layers < 0 else min(settings.gpu_layers, len(layers))
    on_gpu = sum(layers[len(layers) - count :])  # the last layers go first
    on_host = whole - on_gpu
    if settings.gpu_layers < 0 or settings.gpu_layers > len(layers):
        rest = whole - sum(layers) - facts.embedding_bytes  # output matrix and norms
        on_gpu += rest + (0 if facts.output_bytes else facts.embedding_bytes)
        on_host -= rest
    return [Term("weights", label, on_gpu, "exact", "gpu"), Term("weights", label, on_host, "exact")]


def _compute_basis(facts: ModelFacts) -> Basis:
    known = facts.kv_groups and facts.kv_basis == "exact" and not facts.recurrent_bytes
    return "config" if known else "estimate"


def _kv_label(settings: Settings) -> str:
    kinds = {settings.cache_type_k, settings.cache_type_v}
    slots = f"{settings.parallel} x " if settings.parallel > 1 else ""
    return f"Cache for {slots}{settings.cells_per_slot} tokens ({'/'.join(sorted(kinds))})"
