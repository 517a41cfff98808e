"""What was predicted against what an engine reported, term by term."""

from collections.abc import Mapping
from dataclasses import dataclass

from webapp.planner.memory import Estimate


@dataclass(frozen=True, slots=True)
class Comparison:
    """One term: bytes predicted and bytes reported."""

    name: str
    label: str
    predicted_bytes: int
    reported_bytes: int

    @property
    def difference_bytes(self) -> int:
        """Predicted less reported: positive when too much was expected."""
        return self.predicted_bytes - self.reported_bytes


def compare(estimate: Estimate, reported: Mapping[str, int]) -> tuple[Comparison, ...]:
    """A row for every term that the engine reported (engines keep silent about their own overhead).

    A term that was reported but not expected appears with its own name as label and 0 predicted.
    """
    labels = {term.name: term.label for term in estimate.terms}
    return tuple(
        Comparison(name, labels.get(name, name), estimate.bytes_of(name), size) for name, size in reported.items()
    )
