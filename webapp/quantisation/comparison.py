"""A model's variants beside each other: measurements, the plot of size against loss, lineage, and the pick."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp import engines
from webapp.accounts.models import User
from webapp.catalog.models import Artifact, CatalogModel, CopyState
from webapp.planner.facts import ModelFacts
from webapp.quantisation.models import Measurement
from webapp.quantisation.picking import Candidate, Pick, Priority, front, pick
from webapp.quantisation.provenance import lineage
from webapp.quantisation.recipes import IMAGES, METHODS, lacks_image

GIB = 1024**3
WIDTH, HEIGHT, EDGE = 640, 260, 48
PRIORITIES: tuple[Priority, ...] = ("quality", "speed", "size")


@dataclass(frozen=True)
class Row:
    """One variant in the table; `expected` is the survey's loss for its method, `engine` what a source was timed in."""

    artifact: Artifact
    measurement: Measurement
    expected: str
    engine: str = ""
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

    @property
    def is_as_served(self) -> bool:
        """Whether the file itself was timed, not a conversion of it for the other engine."""
        return self.engine in ("", _serving(self.artifact.format))


@dataclass(frozen=True)
class Point:
    """A variant on the plot, in the units of its view box; `speed` in tokens per second of one stream."""

    label: str
    x: int
    y: int
    is_best: bool
    title: str
    speed: float | None


def of_model(user: User, model: CatalogModel, artifacts: list[Artifact]) -> dict[str, Any]:
    """Everything of quantising on the model's page; three queries."""
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
    """One measurement of each artifact, and of a source one for each engine: sources first, then by size."""
    by_id = {artifact.pk: artifact for artifact in artifacts}
    shown: dict[tuple[int, str], Measurement] = {}
    # Newest first; what was timed is worth more, and a result that became a source is still judged as a result.
    rows = Measurement.objects.filter(artifact__in=artifacts).for_list(user)
    for row in sorted(rows, key=lambda row: (_is_baseline(row), not row.values.get("speed"))):
        if (row.artifact_id, "") not in shown:
            shown.setdefault((row.artifact_id, _engine(row)), row)
    points = [(key, by_id[key].size_bytes, loss) for (key, _), row in shown.items() if (loss := _loss(row)) is not None]
    best = front((key, float(size), loss) for key, size, loss in points)
    found = [
        Row(by_id[key], row, expected_loss(by_id[key]), engine, key in best) for (key, engine), row in shown.items()
    ]
    return sorted(found, key=lambda row: (not row.engine, row.artifact.size_bytes, row.engine))


def expected_loss(artifact: Artifact) -> str:
    """What the survey expects of the method that made it."""
    method = METHODS.get((artifact.recipe.get("recipe") or {}).get("method", ""))
    if method is None:
        return ""
    if method.name == "gguf" and "4" not in artifact.quantisation:
        return ""
    return method.expected_loss


def plot(rows: list[Row]) -> list[Point]:
    """Size against divergence for all that have both, each once; nothing for fewer than two."""
    timed_last = sorted(rows, key=lambda row: row.speed_1 is not None)
    found = {
        row.artifact.pk: row for row in timed_last if _loss(row.measurement) is not None and row.artifact.size_bytes
    }
    known = [(row, _loss(row.measurement) or 0.0) for row in found.values()]
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
            row.speed_1,
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
    """The artifacts that can be served, with what was measured of them."""
    rows = table(user, artifacts)
    losses = {row.artifact.pk: _loss(row.measurement) for row in rows}
    speeds = {row.artifact.pk: row.speed_1 for row in rows if row.is_as_served}
    found = []
    for artifact in artifacts:
        if not any(copy.state == "present" for copy in artifact.copies.all()):
            continue
        try:
            facts = ModelFacts.from_json(artifact.facts)
        except (TypeError, ValueError):
            continue
        known = losses.get(artifact.pk), speeds.get(artifact.pk)
        name = artifact.quantisation or artifact.format
        found.append(Candidate(artifact.pk, name, facts, artifact.size_bytes, *known))
    return found


def _is_baseline(row: Measurement) -> bool:
    """Whether it is what others are compared with."""
    return row.against_id is None and "perplexity" in row.values and "kl_divergence" not in row.values


def _engine(row: Measurement) -> str:
    """The engine of a base line; nothing for a result, which only one engine loads."""
    if not _is_baseline(row):
        return ""
    titles = (engine.title for engine in engines.all())
    # The other tools that are named first are those that judge safetensors.
    return next((title for title in titles if row.tool.startswith(title)), _serving("safetensors"))


def _serving(kind: str) -> str:
    """The engine that files of this format are timed in."""
    return next((engine.title for engine in engines.all() if kind in engine.formats), "")


def _loss(row: Measurement) -> float | None:
    """Divergence from the parent; what everything is measured against has none."""
    if _is_baseline(row):
        return 0.0
    found = row.values.get("kl_divergence")
    return max(float(found), 0.0) if found is not None else None


def _takes(artifact: Artifact) -> bool:
    return any(artifact.format in method.takes for method in METHODS.values())


def _is_unprepared(artifact: Artifact) -> bool:
    """It lies on hosts, and on none of them is a quantiser's image."""
    hosts = [copy.host for copy in artifact.copies.all() if copy.state == CopyState.PRESENT]
    return bool(hosts) and all(lacks_image(host.facts, *IMAGES) for host in hosts)
