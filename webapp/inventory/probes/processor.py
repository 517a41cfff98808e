"""What a host's processors are and can do, as /proc/cpuinfo tells it (proc(5)); names of flags are the kernel's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.inventory.probes.devices import ProbeError

# x86 says "flags", Arm and IBM Z say "Features" or "features".
_FLAGS, _NAMES = ("flags", "features"), ("model name", "cpu model", "cpu")
# Prints each of the lines that matter once: on a large machine the whole file has a megabyte.
COMMAND = (
    "python3",
    "-c",
    "import sys\n"
    "with open('/proc/cpuinfo') as file: lines = dict.fromkeys(line.strip() for line in file)\n"
    f"print('\\n'.join(line for line in lines if line.partition(':')[0].strip().lower() in {_FLAGS + _NAMES!r}))\n",
)
# What engines use, by the names that people know; the first flag that is there counts.
_FEATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AVX2", ("avx2",)),
    ("FMA", ("fma",)),
    ("F16C", ("f16c",)),
    ("AVX-512", ("avx512f",)),
    ("AVX-512 VNNI", ("avx512_vnni",)),
    ("AVX-512 BF16", ("avx512_bf16",)),
    ("AVX-512 FP16", ("avx512_fp16",)),
    ("AVX VNNI", ("avx_vnni",)),
    ("AMX", ("amx_tile",)),
    ("AMX INT8", ("amx_int8",)),
    ("AMX BF16", ("amx_bf16",)),
    ("NEON", ("asimd", "neon")),
    ("dot product", ("asimddp",)),
    ("I8MM", ("i8mm",)),
    ("BF16", ("bf16",)),
    ("SVE", ("sve",)),
    ("SVE2", ("sve2",)),
    ("SME", ("sme",)),
)


@dataclass(frozen=True, slots=True)
class Processor:
    """`flags` are those that all processors of the machine have. Empty: nobody has looked, or the kernel says none."""

    name: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def features(self) -> tuple[str, ...]:
        """What of it decides whether and how fast models run, in the words of people."""
        return tuple(name for name, flags in _FEATURES if self.flags & set(flags))

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "flags": self.sorted_flags}

    @property
    def sorted_flags(self) -> list[str]:
        return sorted(self.flags)

    @classmethod
    def from_json(cls, stored: Any) -> "Processor":
        """Stored by this version or by none: what is not there is not known."""
        if not isinstance(stored, Mapping):
            return cls()
        return cls(str(stored.get("name", "")), frozenset(map(str, stored.get("flags") or ())))


def parse(text: str) -> Processor:
    """The whole file, or the lines of it that COMMAND prints. Raises ProbeError for something else."""
    lines = (line.partition(":") for line in text.splitlines())
    pairs = [(key.strip().lower(), value.strip()) for key, _, value in lines]
    flags = [frozenset(value.split()) for key, value in pairs if key in _FLAGS]
    names = [value for wanted in _NAMES for key, value in pairs if key == wanted and value]
    if not flags and not names:
        raise ProbeError("The host's kernel said nothing of its processors.")
    return Processor(names[0][:100] if names else "", frozenset.intersection(*flags) if flags else frozenset())
