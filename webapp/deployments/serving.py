"""What a deployment answers and what its model can do: for gateways, pages and the API alike."""

from dataclasses import dataclass

from webapp import engines
from webapp.deployments import workload
from webapp.deployments.models import Deployment
from webapp.planner.facts import ModelFacts


@dataclass(frozen=True)
class Serving:
    """`context_length` is in tokens, of one request. None is what nobody knows while no replica has been ready."""

    endpoints: tuple[str, ...]
    context_length: int | None
    tools: bool | None
    vision: bool | None
    audio: bool | None

    @property
    def sentences(self) -> list[str]:
        """What people should know who are about to use it."""
        said = {
            "tools": {True: "calls tools", False: "cannot call tools: its chat template has no place for them"},
            "vision": {True: "takes pictures", False: "takes no pictures"},
            "audio": {True: "takes audio"},
        }
        return [words[known] for name, words in said.items() if (known := getattr(self, name)) in words]


def of(deployment: Deployment) -> Serving:
    """Of what it is wanted to run; asks for nothing when artifact and replicas have been fetched."""
    engine = engines.get(deployment.engine)
    stored, told = deployment.artifact.facts, deployment.capabilities
    try:
        options = workload.settled_options(deployment.engine, deployment.options, stored)
        endpoints = engine.offers(options, ModelFacts.from_json(stored or {"architecture": "unknown"}))
    except ValueError:
        # Options of another version: what the engine can do at all.
        options, endpoints = None, engine.endpoints
    context = told.get("context_length") or getattr(options, "context_length", None)
    return Serving(endpoints, context, told.get("tools"), told.get("vision"), told.get("audio"))
