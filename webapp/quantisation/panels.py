"""What a model's page shows of this room: measurements, the plot, lineage, and the pick."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.accounts.models import User
from webapp.catalog.models import Artifact, CatalogModel, CopyState
from webapp.planner.facts import ModelFacts
from webapp.quantisation.models import Measurement
from webapp.quantisation.passports import lineage
from webapp.quantisation.picking import Candidate, Pick, Priority, front, pick
from webapp.quantisation.recipes import IMAGES, METHODS, lacks_image

GIB = 1024**3
WIDTH, HEIGHT, EDGE = 640, 260, 48
PRIORITIES: tuple[Priority, ...] = ("quality", "speed", "size")


@dataclass(frozen=True)
class Row:
    """One variant in the table; `expected` is the survey's loss for its method."""

    artifact: Artifact
    measurement: Measurement
    expected: str
    is_best: bool = False

    @property
    def values(self) -> dict[str, Any]:
        return dict(self.measurement.values)

    @property
    def speed_missing(self) -> str:
        """Why load, memory and speed are not there; empty when they are or nobody asked."""
        return str(self.values.get("speed_missing", ""))

    @property
    def load_s(self) -> float | None:
        return self.values.get("load_s")

    @property
    def peak_memory_bytes(self) -> int | None:
        return self.values.get("peak_memory_bytes")

    def _speed(self, streams: int) -> float | None:
        return next((one["decode_per_s"] for one in self.values.get("speed", ()) if one["streams"] == streams), None)

    @property
    def speed_1(self) -> float | None:
        return self._speed(1)

    @property
    def speed_8(self) -> float | None:
        return self._speed(8)


@dataclass(frozen=True)
class Point:
    """A variant on the plot, in the units of its view box."""

    label: str
    x: int
    y: int
    is_best: bool
    title: str


def of_model(user: User, model: CatalogModel, artifacts: list[Artifact]) -> dict[str, Any]:
    """Everything of this room on the model's page; three queries."""
    rows = table(user, artifacts)
    return {
        "measured": rows,
        "points": plot(rows),
        "lineage": lineage(artifacts) if any(artifact.parent_id for artifact in artifacts) else [],
        "quantisable": {artifact.pk for artifact in artifacts if _takes(artifact)},
        "unprepared": {artifact.pk for artifact in artifacts if _is_unprepared(artifact)},
        "priorities": PRIORITIES,
    }


def table(user: User, artifacts: list[Artifact]) -> list[Row]:
    """The newest measurement of each artifact, smallest file first."""
    newest: dict[int, Measurement] = {}
    for row in Measurement.objects.filter(artifact__in=artifacts).for_list(user):
        newest.setdefault(row.artifact_id, row)
    by_id = {artifact.pk: artifact for artifact in artifacts}
    points = [(key, float(by_id[key].size_bytes), _loss(row)) for key, row in newest.items() if _loss(row) is not None]
    best = front((key, int(size), loss) for key, size, loss in points if loss is not None)
    rows = [Row(by_id[key], row, expected_loss(by_id[key]), key in best) for key, row in newest.items()]
    return sorted(rows, key=lambda row: row.artifact.size_bytes)


def expected_loss(artifact: Artifact) -> str:
    """What the survey expects of the method that made it."""
    method = METHODS.get((artifact.recipe.get("recipe") or {}).get("method", ""))
    if method is None:
        return ""
    if method.name == "gguf" and "4" not in artifact.quantisation:
        return ""
    return method.expected_loss


def plot(rows: list[Row]) -> list[Point]:
    """Size against divergence for all that have both; nothing for fewer than two."""
    known = [(row, loss) for row in rows if (loss := _loss(row.measurement)) is not None and row.artifact.size_bytes]
    if len(known) < 2:
        return []
    sizes, losses = [row.artifact.size_bytes for row, _loss in known], [loss for _row, loss in known]
    return [
        Point(
            row.artifact.quantisation or row.artifact.format,
            EDGE + round((row.artifact.size_bytes / max(sizes)) * (WIDTH - 2 * EDGE)),
            HEIGHT - EDGE - round((loss / (max(losses) or 1)) * (HEIGHT - 2 * EDGE)),
            row.is_best,
            f"{row.artifact.quantisation}: {row.artifact.size_bytes / GIB:.2f} GiB, divergence {loss:.4f}",
        )
        for row, loss in known
    ]


def picked(user: User, artifacts: list[Artifact], asked: Mapping[str, Any]) -> Pick | None:
    """The pick for what was asked; None while the question is not complete."""
    try:
        memory = float(asked["memory_gib"]) * GIB
        context, users = int(asked["context"]), int(asked["users"])
    except (KeyError, ValueError, OverflowError):
        return None
    priority = asked.get("priority")
    if priority not in PRIORITIES or not (0 < memory < 1e15 and 0 < context <= 10**8 and 0 < users <= 10**5):
        return None
    return pick(candidates(user, artifacts), int(memory), context, users, priority)


def candidates(user: User, artifacts: list[Artifact]) -> list[Candidate]:
    """The artifacts that can be served, with their newest measurement."""
    rows = {row.artifact.pk: row for row in table(user, artifacts)}
    found = []
    for artifact in artifacts:
        if not any(copy.state == "present" for copy in artifact.copies.all()):
            continue
        try:
            facts = ModelFacts.from_json(artifact.facts)
        except (TypeError, ValueError):
            continue
        row = rows.get(artifact.pk)
        found.append(
            Candidate(
                artifact.pk, artifact.quantisation or artifact.format, facts, artifact.size_bytes,
                _loss(row.measurement) if row else None, row.speed_1 if row else None,
            )
        )  # fmt: skip
    return found


def _loss(row: Measurement) -> float | None:
    """Divergence from the parent; what everything is measured against has none."""
    if row.against_id is None and "perplexity" in row.values:
        return 0.0
    found = row.values.get("kl_divergence")
    return max(float(found), 0.0) if found is not None else None


def _takes(artifact: Artifact) -> bool:
    return any(artifact.format in method.takes for method in METHODS.values())


def _is_unprepared(artifact: Artifact) -> bool:
    """It lies on hosts, and on none of them is a quantiser's image."""
    hosts = [copy.host for copy in artifact.copies.all() if copy.state == CopyState.PRESENT]
    return bool(hosts) and all(lacks_image(host.facts, *IMAGES) for host in hosts)
