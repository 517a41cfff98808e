"""What a vLLM server takes of memory, and what would make it fit."""

from webapp.planner.facts import ModelFacts
from webapp.planner.memory import GIB, MIB, Capacity, Estimate, Term, estimate_of, gpu_context, split

# vLLM 0.32 for processors with a model of 135 M parameters, PSS: 0.6 GB the API's process, 0.5 GB the engine core's,
# and the worker's 0.8 GB beside its cache, weights of 0.27 GB included.
PROGRAM_BYTES = 1_700 * MIB
# Activations of one step: measured for no card here, a tenth of the weights and never less than this.
ACTIVATION_BYTES = 256 * MIB


def estimate(facts: ModelFacts, cache_bytes: int, cards: int) -> Estimate:
    """All terms of a server. With `cards` weights, cache and activations lie there and the programs on the host."""
    share = 1.0 if cards else 0.0
    activations = max(ACTIVATION_BYTES, facts.weights_bytes // 10)
    terms = split("weights", "Weights", facts.weights_bytes, "exact", share)
    terms += split("kv_cache", "KV cache", cache_bytes, "exact", share)
    terms += split("compute_buffer", "Compute buffers", activations, "estimate", share)
    terms.append(Term("process_overhead", "Runtime overhead", PROGRAM_BYTES, "estimate"))
    if cards:
        terms.append(gpu_context(cards))
        further = (cards - 1) * activations
        terms.append(Term("further_gpus", "Compute buffers of further GPUs", further, "estimate", "gpu"))
    return estimate_of(terms)


def suggest(facts: ModelFacts, cache_bytes: int, cards: int, headroom: Capacity) -> str:
    """The largest cache of whole GiB below the wanted one that would fit, in words; empty when none would, or all."""
    if headroom.holds(estimate(facts, cache_bytes, cards)):
        return ""
    for size in range(cache_bytes // GIB - 1, 0, -1):
        if headroom.holds(estimate(facts, size * GIB, cards)):
            return f"fits with a cache of {size} GiB"
    return ""
