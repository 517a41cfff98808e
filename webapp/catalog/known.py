"""Models that people usually ask for: their facts, where they are published, and roughly what they need. Pure data."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from webapp.planner.rough import rough_bytes

# Bits per weight of what people usually run: 16-bit, 8-bit, and 4-bit with its scales.
FORMAT = "gguf"  # in which all of them are published, whatever their precision
PRECISIONS = (("16-bit", 16.0), ("8-bit", 8.5), ("4-bit", 4.8))


@dataclass(frozen=True, slots=True)
class Known:
    """One model. `repos` are names on Hugging Face, the one to try first at the front."""

    name: str
    family: str
    parameters: int
    context_length: int
    licence: str
    repos: tuple[str, ...]
    note: str = ""
    active_parameters: int = 0

    def weights_bytes(self, bits: float) -> int:
        return int(self.parameters * bits / 8)

    @property
    def weights(self) -> list[tuple[str, int]]:
        """(precision, bytes of the weights), from the number of parameters."""
        return [(label, self.weights_bytes(bits)) for label, bits in PRECISIONS]

    @property
    def needs(self) -> list[tuple[str, int]]:
        """(precision, bytes of memory): a rough estimate from the number of parameters."""
        return [(label, rough_bytes(size)) for label, size in self.weights]


@lru_cache(maxsize=1)
def models() -> tuple[Known, ...]:
    """All known models, small before large."""
    entries = json.loads((Path(__file__).parent / "known.json").read_text())
    found = [Known(**{**entry, "repos": tuple(entry["repos"])}) for entry in entries]
    return tuple(sorted(found, key=lambda model: model.parameters))


def matching(words: str) -> tuple[Known, ...]:
    """Known models whose name, family or licence holds every word."""
    asked = words.lower().split()
    return tuple(
        model
        for model in models()
        if all(word in f"{model.name} {model.family} {model.licence} {' '.join(model.repos)}".lower() for word in asked)
    )
