"""Gates: how much a result may lose against its source and still be served. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PROMPTS = "min_prompts_passed_percent"


class Gate(BaseModel):
    """Limits; what is absent is not looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    max_kl_divergence: float | None = Field(None, ge=0, le=100, description="mean, in nats, against the source")
    min_top1_agreement_percent: float | None = Field(
        None, ge=0, le=100, description="how often the most likely token is the source's"
    )
    max_perplexity_ratio: float | None = Field(
        None, ge=0.5, le=100, description="perplexity over the source's; 1.02 is two percent worse"
    )

    min_prompts_passed_percent: float | None = Field(
        None, ge=0, le=100, description="how many of the golden prompts are answered as expected"
    )

    @property
    def is_set(self) -> bool:
        return any(value is not None for value in self.model_dump().values())

    @property
    def needs_source(self) -> bool:
        """Whether a limit is on what is measured against the source."""
        return any(value is not None for name, value in self.model_dump().items() if name != PROMPTS)


@dataclass(frozen=True, slots=True)
class Check:
    """One limit against one measured value; `measured` None: it was not measured, which does not pass."""

    name: str
    label: str
    limit: float
    measured: float | None
    is_passed: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def words(self) -> str:
        """Why it did not pass."""
        if self.measured is None:
            return f"{self.label} was not measured"
        side = "below" if self.name.startswith("min") else "above"
        return f"{self.label} is {self.measured:.4g}, {side} the limit {self.limit:.4g}"


def evaluate(gate: Gate, values: Mapping[str, Any]) -> list[Check]:
    """Every limit that is set, against a measurement's values."""
    checks = []
    for name, label, measured in (
        ("max_kl_divergence", "KL divergence", _number(values.get("kl_divergence"))),
        ("min_top1_agreement_percent", "Top-1 agreement", _number(values.get("top1_agreement_percent"))),
        ("max_perplexity_ratio", "Perplexity ratio", _ratio(values)),
        (PROMPTS, "Golden prompts passed (%)", _number(values.get("prompts_passed_percent"))),
    ):
        limit = getattr(gate, name)
        if limit is None:
            continue
        is_passed = measured is not None and (measured >= limit if name.startswith("min") else measured <= limit)
        checks.append(Check(name, label, limit, measured, is_passed))
    return checks


def _ratio(values: Mapping[str, Any]) -> float | None:
    own, base = _number(values.get("perplexity")), _number(values.get("base_perplexity"))
    return own / base if own is not None and base else None


def _number(value: Any) -> float | None:
    """A number that can be compared; not-a-number is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    return float(value)
