"""What a deployment would take, before it is started: the planner's named terms as rows."""

from typing import Any

from pydantic import ValidationError

from webapp import engines
from webapp.catalog.models import Artifact
from webapp.engines.base import HardwareGrant
from webapp.errors import Invalid
from webapp.planner.facts import ModelFacts


def estimate(artifact: Artifact, engine_name: str, options: dict[str, Any], cpu_count: int = 1) -> list[dict[str, Any]]:
    """Memory terms of one replica as {name, label, bytes, basis}, on a host's CPU. Raises Invalid."""
    if engine_name not in engines.names():
        message = f"There is no engine {engine_name!r}; choose among {', '.join(engines.names())}."
        raise Invalid(message, fields={"engine": message})
    engine = engines.get(engine_name)
    try:
        checked = engine.Options.model_validate(options)
        facts = ModelFacts.from_json(artifact.facts)
    except (ValidationError, ValueError) as error:
        raise Invalid(f"No estimate for these options: {error}") from error
    terms = engine.memory_terms(facts, checked, HardwareGrant(vendor="cpu", cpu_count=cpu_count))
    return [{"name": t.name, "label": t.label, "bytes": t.bytes, "basis": t.basis} for t in terms]
