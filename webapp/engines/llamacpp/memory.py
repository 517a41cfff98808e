"""What a llama.cpp server takes of memory, and what would make it fit.

The rules are llama.cpp's (0c1e57098): cells per slot from src/llama-context.cpp, cache rows from
src/llama-kv-cache.cpp and llama-kv-cache-iswa.cpp, the output buffer from llama_context::output_reserve. Weights,
cache and output are exact; compute buffers depend on the whole graph and are estimated.
"""

from dataclasses import dataclass, replace

from webapp.engines.base import HardwareAllocation
from webapp.engines.llamacpp.options import LlamaCppOptions
from webapp.planner import ggml
from webapp.planner.facts import Basis, ModelFacts
from webapp.planner.memory import MIB, Capacity, Estimate, Term, estimate_of, gpu_context, row_bytes, split

CELL_STEP = 256  # llama.cpp rounds the context of a slot up to this
# Anonymous memory beside the named buffers, measured with a vocabulary of 49,152: 6 MiB in the compiled server,
# 19 MiB where it runs inside Python. The middle of the two, a third of it growing with the vocabulary.
PROCESS_BYTES = 8 * MIB
VOCABULARY_BYTES_PER_TOKEN = 100
# Bits per weight of whole files, measured on Llama-3.1-8B (llama.cpp tools/quantize/README.md).
SMALLER = (("Q8_0", 8.5), ("Q6_K", 6.56), ("Q5_K_M", 5.70), ("Q4_K_M", 4.89), ("Q3_K_M", 4.0), ("Q2_K", 3.16))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a launch chooses that costs memory, in the engine's own numbers. `context` is per slot, in tokens."""

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
class Suggestion:
    """The nearest change that would fit, in words ("fits with context 16384"); empty when none is known."""

    text: str = ""
    settings: Settings | None = None  # the changed settings, when it is a change of settings


def settings_of(options: LlamaCppOptions, hardware: HardwareAllocation) -> Settings:
    """What the options come to on this hardware."""
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


def estimate(facts: ModelFacts, settings: Settings) -> Estimate:
    """All terms of a llama.cpp server with these settings. Terms of zero bytes are left out."""
    share = _gpu_share(facts, settings)
    terms: list[Term] = []
    terms += _weights(facts, settings)
    terms += split("kv_cache", _kv_label(settings), kv_bytes(facts, settings), facts.kv_basis, share)
    state = facts.recurrent_bytes * settings.parallel
    terms += split("recurrent_state", "Recurrent state (SSM)", state, "config", share)
    compute = compute_bytes(facts, settings)
    terms += split("compute_buffer", "Compute buffers", compute, _compute_basis(facts), 1 if share else 0)
    terms.append(Term("output_buffer", "Output buffer (logits)", output_bytes(facts, settings), "exact"))
    if settings.repack and not share:
        terms.append(Term("repack", "Repacked weights (CPU)", facts.repack_bytes, "config"))
    terms.append(Term("checkpoints", "Context checkpoints (max)", checkpoint_bytes(facts, settings), "config"))
    terms.append(Term("prompt_cache", "Prompt cache (max)", settings.prompt_cache_bytes, "config"))
    overhead = PROCESS_BYTES + facts.vocabulary * VOCABULARY_BYTES_PER_TOKEN
    terms.append(Term("process_overhead", "Runtime overhead", overhead, "estimate"))
    if share:
        terms.append(gpu_context(settings.gpus))
        # Each further GPU has working memory of its own, and whole layers do not divide evenly.
        further = (settings.gpus - 1) * (compute + max(facts.layer_bytes, default=0))
        terms.append(Term("further_gpus", "Working memory of further GPUs, uneven layers", further, "estimate", "gpu"))
    return estimate_of(terms)


def kv_bytes(facts: ModelFacts, settings: Settings) -> int:
    """Bytes of the key-value cache over all slots, exactly as llama.cpp allocates it.

    Layers with a sliding window get window + micro batch cells (rounded up to 256) where that is less. Without
    flash attention every layer's values are padded to the widest layer's.
    """
    key, value = ggml.cache_type(settings.cache_type_k), ggml.cache_type(settings.cache_type_v)
    widest = max((group.value_elements for group in facts.kv_groups), default=0)
    total = 0
    for group in facts.kv_groups:
        is_padded = group.value_elements and not settings.flash_attention
        padded = replace(group, value_elements=widest) if is_padded else group
        total += group.layers * _cells(group.window, settings) * row_bytes(padded, key, value) * settings.parallel
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


def suggest(facts: ModelFacts, settings: Settings, headroom: Capacity) -> Suggestion:
    """The nearest change that would fit; none when it fits as it is.

    Tried in this order: a shorter context, a cache of half the size, one slot, fewer layers on the GPU, a smaller
    quantisation.
    """
    if _has_room(facts, settings, headroom):
        return Suggestion()
    small_cache = replace(settings, cache_type_k="q8_0", cache_type_v="q8_0")
    tries: list[tuple[str, Settings]] = [("", settings)]
    if settings.flash_attention and settings.cache_type_k == "f16" == settings.cache_type_v:
        tries.append(("a q8_0 cache", small_cache))
    if settings.parallel > 1:
        tries += [("one slot", replace(settings, parallel=1))]
    for words, changed in tries:
        if words and _has_room(facts, changed, headroom):
            return Suggestion(f"fits with {words}", changed)
        context = _longest_context(facts, changed, headroom)
        if context and context >= min(2048, settings.context // 4):
            text = f"fits with {f'{words} and ' if words else ''}context {context}"
            return Suggestion(text, replace(changed, context=context))
    layers = _most_gpu_layers(facts, settings, headroom)
    if layers is not None:
        return Suggestion(f"fits with {layers} layers on the GPU", replace(settings, gpu_layers=layers))
    return Suggestion(_smaller_quantisation(facts, settings, headroom))


def _has_room(facts: ModelFacts, settings: Settings, headroom: Capacity) -> bool:
    return headroom.holds(estimate(facts, settings))


def _longest_context(facts: ModelFacts, settings: Settings, headroom: Capacity) -> int:
    """The longest context below the wanted one that fits, in whole steps; 0 when not even one step does."""
    low, high = 0, (settings.cells_per_slot - 1) // CELL_STEP
    while low < high:
        middle = (low + high + 1) // 2
        if _has_room(facts, replace(settings, context=middle * CELL_STEP), headroom):
            low = middle
        else:
            high = middle - 1
    return low * CELL_STEP


def _most_gpu_layers(facts: ModelFacts, settings: Settings, headroom: Capacity) -> int | None:
    if not settings.gpu_layers:
        return None
    most = facts.layers if settings.gpu_layers < 0 else min(settings.gpu_layers - 1, facts.layers)
    for layers in range(most, 0, -1):
        if _has_room(facts, replace(settings, gpu_layers=layers), headroom):
            return layers
    return None


def _smaller_quantisation(facts: ModelFacts, settings: Settings, headroom: Capacity) -> str:
    found = estimate(facts, settings)
    weights = facts.mapped_bytes or facts.weights_bytes
    beside = max(0, (found.gpu_bytes or found.host_bytes) - weights)
    left = (headroom.gpu_bytes or headroom.host_bytes) - beside
    for name, bits in SMALLER:
        if bits < facts.bits_per_weight and facts.parameters * bits / 8 <= left:
            return f"fits as {name}"
    return ""


def _gpu_share(facts: ModelFacts, settings: Settings) -> float:
    """The part of the layers that lies on the GPU, 0..1."""
    if not settings.gpu_layers or not facts.layers:
        return 0.0
    return 1.0 if settings.gpu_layers < 0 else min(1.0, settings.gpu_layers / facts.layers)


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
    return f"KV cache, {slots}{settings.cells_per_slot} tokens ({'/'.join(sorted(kinds))})"
