"""What a model takes when only the size of its weights is known: before its files are there to be read."""

from webapp.planner.memory import GIB, Place, Term

# Weights are most of it; the cache of a usual context and the engine's own buffers make about a tenth more.
OVERHEAD = 0.1
FIXED_BYTES = GIB


def rough_bytes(weights_bytes: float) -> int:
    """Memory that weights of this size want in all."""
    return int(weights_bytes * (1 + OVERHEAD)) + FIXED_BYTES


def rough_terms(weights_bytes: int, on_gpu: bool) -> list[Term]:
    """The same as terms, all of it in one kind of memory."""
    place: Place = "gpu" if on_gpu else "host"
    rest = rough_bytes(weights_bytes) - weights_bytes
    return [
        Term("weights", "Weights", weights_bytes, "estimate", place),
        Term("rest", "Cache and buffers, about", rest, "estimate", place),
    ]
