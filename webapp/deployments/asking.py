"""What a deployment answers: chat or embeddings, and whether it does so now. Pages and snippets begin with its word."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from webapp import engines
from webapp.deployments.models import Deployment


class Asked(Protocol):
    """A row that says what it runs; `artifact` read with it."""

    engine: str
    options: Any
    artifact: Any


def serves_embeddings(row: Asked) -> bool:
    """Whether it is there for vectors and not for talk: its model is an encoder, or its options say so."""
    facts: Mapping[str, Any] = row.artifact.facts or {}
    if row.engine not in engines.names():
        return not facts.get("generates", True)
    return engines.get(row.engine).serves_embeddings(bool(facts.get("generates", True)), row.options)


def why_no_chat(row: Deployment) -> str:
    """Why nobody can chat with it now, in two or three words; empty when people can. Replicas read with it."""
    if serves_embeddings(row):
        return "serves embeddings"
    return "" if row.state in ("ready", "degraded") else row.state


def first_for_chat(rows: Iterable[Deployment], but: Sequence[int] = ()) -> Deployment | None:
    """The first that people can chat with now, none of those whose keys are in `but`; None when none is there."""
    return next((row for row in rows if row.pk not in but and not why_no_chat(row)), None)
