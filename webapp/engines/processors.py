"""What programs need of processors, by the flags of /proc/cpuinfo. Without flags nothing is known nor refused."""

from collections.abc import Set

Flags = Set[str]
UNKNOWN: frozenset[str] = frozenset()
# ggml's x86 code as it is built here (GGML_NATIVE off): compiled for these alone, without a look at the processor.
GGML = ("avx2", "bmi2", "f16c", "fma")


def is_x86(flags: Flags) -> bool:
    """Every processor with 64 bits of that family has SSE2, and no other has."""
    return "sse2" in flags


def is_arm(flags: Flags) -> bool:
    """Arm's vector unit, which every one with 64 bits has."""
    return "asimd" in flags


def lacking(flags: Flags, *needed: str) -> tuple[str, ...]:
    """Which of these an x86 processor lacks, in capitals as people write them."""
    return tuple(name.upper() for name in needed if name not in flags) if is_x86(flags) else ()
