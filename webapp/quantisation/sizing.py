"""What a recipe needs and makes: bytes on disk and in memory, each an estimate with its rule. Pure."""

from dataclasses import dataclass

from webapp.planner.facts import ModelFacts
from webapp.quantisation.recipes import (
    GGUF_BITS,
    PLAIN_TYPES,
    AwqOptions,
    GgufOptions,
    GptqOptions,
    Measure,
    Recipe,
)

GIB = 1024**3
MIB = 1024**2
# Rows that 256 does not divide fall back to larger types; SmolLM2 (rows of 576) becomes 1.26 times as large.
FALLBACK = 1.26
# llama.cpp judges 2,048 tokens at a time and keeps 32 bits per word of the vocabulary for each.
BATCH_TOKENS = 2048
# What the tools need beside the model: an interpreter, PyTorch, buffers (measured 0.6 to 0.9 GiB with SmolLM2).
TOOL_BYTES = GIB
# vLLM in one process beside the weights: 1 GiB of cache, and 0.7 GiB of its own as measured with SmolLM2.
VLLM_BYTES = 2 * GIB
IMATRIX_SHARE = 0.01
MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes. `work` is what the host's disk needs beside source and result while the job runs."""

    result_bytes: int
    work_bytes: int
    memory_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def disk_bytes(self) -> int:
        """What must be free on the host."""
        return int((self.result_bytes + self.work_bytes) * MARGIN) + 64 * MIB


def needs(facts: ModelFacts, source_format: str, recipe: Recipe, measure: Measure | None) -> Needs:
    """What the job of this recipe takes on this model."""
    parameters = facts.parameters or facts.weights_bytes // 2
    half = parameters * 2
    result, notes = _result(facts, parameters, recipe)
    if recipe.what.makes == "gguf":
        is_plain = result >= half
        work = half if source_format == "safetensors" and not is_plain else 0
        work += int(half * IMATRIX_SHARE) if recipe.wants_text else 0
        source = max(half, facts.weights_bytes)
        memory = TOOL_BYTES + source + BATCH_TOKENS * facts.vocabulary * 4
        if measure is not None:
            work += logits_bytes(facts.vocabulary, measure)
    else:
        # The tool holds the 16-bit model, works on a copy of each layer and packs the result beside it; judging holds
        # both models and the scores of one piece of text.
        work = 0
        memory = TOOL_BYTES + int(2.5 * half)
        if measure is not None:
            memory = max(memory, TOOL_BYTES + 2 * half + 4 * measure.context * facts.vocabulary * 4)
            # Some of vLLM's kernels keep the weights in an order of their own, and read both while they load. The
            # source is timed too.
            memory = max(memory, VLLM_BYTES + 2 * half) if measure.speed else memory
    return Needs(result, work, memory, notes)


def logits_bytes(vocabulary: int, measure: Measure) -> int:
    """The file of `llama-perplexity --kl-divergence-base`: 16 bits per word of the vocabulary and two floats for each
    judged token, which are the second half of every piece."""
    return judged_tokens(measure) * (2 * (vocabulary + vocabulary % 2) + 8)


def judged_tokens(measure: Measure) -> int:
    """Of how many tokens the expectations are compared."""
    return measure.chunks * (measure.context - 1 - measure.context // 2)


def _result(facts: ModelFacts, parameters: int, recipe: Recipe) -> tuple[int, tuple[str, ...]]:
    chosen = recipe.chosen
    if isinstance(chosen, GgufOptions):
        bits, notes = GGUF_BITS[chosen.type], tuple[str, ...]()
        if _falls_back(facts, chosen.type):
            bits, notes = (
                bits * FALLBACK,
                (f"Rows of {facts.embedding_length} are no multiple of 256: many tensors fall back to larger types.",),
            )
        return int(parameters * bits / 8), notes
    kept = facts.vocabulary * facts.embedding_length
    inner = max(parameters - kept, 0)
    return int(inner * _bits(recipe) / 8) + kept * 2, ()


def _bits(recipe: Recipe) -> float:
    """Bits per weight of the layers that are quantised, scales and zero points included."""
    chosen = recipe.chosen
    if isinstance(chosen, GptqOptions | AwqOptions):
        bits = chosen.bits if isinstance(chosen, GptqOptions) else 4
        return bits + (16 + (0 if chosen.symmetric else bits)) / chosen.group_size
    return 8.05


def _falls_back(facts: ModelFacts, kind: str) -> bool:
    blocks_of_256 = "_K" in kind or (kind.startswith(("IQ", "TQ")) and kind != "IQ4_NL")
    return kind not in PLAIN_TYPES and blocks_of_256 and bool(facts.embedding_length % 256)
