"""The charts of one host, deployment or replica: samples, and the usage sums per minute and hour."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum
from django.http import Http404
from django.utils import timezone

from webapp.accounts.models import User
from webapp.deployments.models import Deployment, Replica
from webapp.inventory.models import Accelerator, Host
from webapp.samples.measures import MEASURES, WINDOWS, Window
from webapp.samples.models import Kind, Sample
from webapp.samples.services import floor
from webapp.usage.latency import quantile
from webapp.usage.models import TTFT_COLUMNS, Period, Rollup

# More lines than that nobody can tell apart.
MOST_SUBJECTS = 12
TABLE_ROWS = 60


@dataclass(frozen=True)
class Line:
    label: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Chart:
    """Lines over the same moments. `most` is where the scale ends, when that is known."""

    title: str
    unit: str
    step_s: int
    moments: tuple[datetime, ...]
    lines: tuple[Line, ...]
    most: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Times in unix seconds; a gap is null."""
        return {
            "title": self.title,
            "unit": self.unit,
            "step_s": self.step_s,
            "most": self.most,
            "at": [int(moment.timestamp()) for moment in self.moments],
            "series": [{"label": line.label, "values": list(line.values)} for line in self.lines],
        }

    @property
    def rows(self) -> list[tuple[datetime, list[float | None]]]:
        """The same in at most sixty rows, newest first; empty ones are left out."""
        every = -(-len(self.moments) // TABLE_ROWS)
        rows = []
        for start in range(0, len(self.moments), every):
            values = [_mean(line.values[start : start + every]) for line in self.lines]
            if any(value is not None for value in values):
                rows.append((self.moments[start], values))
        return rows[::-1]


def of(user: User, kind: str, subject_id: int, window: str, now: datetime | None = None) -> list[Chart]:
    """The charts of `host`, `deployment` or `replica`. 404 for what is not there or not the person's to see."""
    make = _CHARTS.get(kind)
    if make is None or window not in WINDOWS:
        raise Http404
    return [chart for chart in make(user, subject_id, WINDOWS[window], now or timezone.now()) if chart.lines]


def _host(user: User, host_id: int, window: Window, now: datetime) -> list[Chart]:
    host = Host.objects.filter(pk=host_id).first()
    if host is None:
        raise Http404
    cards = {card.pk: f"GPU {card.index}" for card in Accelerator.objects.filter(host=host, is_present=True)}
    most = {"cpu_cores": float(host.cpu_count), "memory_bytes": float(host.memory_bytes), "busy_percent": 100.0}
    return [
        *_samples(Kind.HOST, {host.pk: ""}, window, now, most),
        *_samples(Kind.ACCELERATOR, cards, window, now, most),
    ]


def _deployment(user: User, deployment_id: int, window: Window, now: datetime) -> list[Chart]:
    deployment = Deployment.objects.visible_to(user).filter(pk=deployment_id).first()
    if deployment is None:
        raise Http404
    replicas = {replica.pk: f"#{replica.number}" for replica in deployment.replicas.all()[:MOST_SUBJECTS]}
    return [*_usage(deployment_id, window, now), *_samples(Kind.REPLICA, replicas, window, now)]


def _replica(user: User, replica_id: int, window: Window, now: datetime) -> list[Chart]:
    if not Replica.objects.visible_to(user).filter(pk=replica_id).exists():
        raise Http404
    return _samples(Kind.REPLICA, {replica_id: ""}, window, now)


_CHARTS: dict[str, Callable[[User, int, Window, datetime], list[Chart]]] = {
    "host": _host,
    "deployment": _deployment,
    "replica": _replica,
}


def _samples(
    kind: str, names: dict[int, str], window: Window, now: datetime, most: dict[str, float] | None = None
) -> list[Chart]:
    """One chart per title of MEASURES, one line per subject and measure in it; one query."""
    if not names:
        return []
    moments = _moments(window.length_s, window.step_s, now)
    rows = Sample.objects.filter(
        kind=kind, subject_id__in=names, resolution_s=window.resolution_s, at__gte=moments[0]
    ).values_list("subject_id", "at", "values")
    found: dict[tuple[str, int], dict[datetime, list[float]]] = defaultdict(lambda: defaultdict(list))
    for subject, at, values in rows:
        for measure, value in values.items():
            found[measure, subject][floor(at, window.step_s)].append(value)
    charts: dict[str, list[Line]] = {}
    for measure, shown in MEASURES.items():
        for subject, name in names.items():
            if line := found.get((measure, subject)):
                label = " ".join(part for part in (name, shown.label) if part) or "used"
                values = tuple(_mean(line.get(moment, ())) for moment in moments)
                charts.setdefault(shown.title, []).append(Line(label, values))
    units = {shown.title: shown.unit for shown in MEASURES.values()}
    ends = {MEASURES[measure].title: value for measure, value in (most or {}).items()}
    return [
        Chart(title, units[title], window.step_s, moments, tuple(lines), ends.get(title))
        for title, lines in charts.items()
    ]


def _usage(deployment_id: int, window: Window, now: datetime) -> list[Chart]:
    """Tokens, requests and time to first token, from minutes or hours; one query."""
    step_s = max(window.step_s, 60)
    period = Period.HOUR if step_s >= 3600 else Period.MINUTE
    # A minute that has just begun says nothing yet.
    moments = _moments(window.length_s, step_s, now - timedelta(seconds=60))
    columns = ("requests", "failed", "prompt_tokens", "completion_tokens", *TTFT_COLUMNS)
    rows = Rollup.objects.filter(period=period, deployment_id=deployment_id, at__gte=moments[0])
    found: dict[datetime, list[int]] = {}
    for at, *sums in rows.values_list("at").annotate(**{f"sum_{name}": Sum(name) for name in columns}):
        total = found.setdefault(floor(at, step_s), [0] * len(columns))
        for place, value in enumerate(sums):
            total[place] += value

    if not found:
        return []
    # The last step may be running still.
    lengths = dict.fromkeys(moments, float(step_s))
    lengths[moments[-1]] = min(step_s, (now - moments[-1]).total_seconds())

    def line(label: str, value: Callable[[list[int], float], float | None], empty: float | None = 0.0) -> Line:
        return Line(label, tuple(value(found[m], lengths[m]) if m in found else empty for m in moments))

    tokens = (line("prompt", lambda s, step: s[2] / step), line("completion", lambda s, step: s[3] / step))
    asked = (
        line("succeeded", lambda s, step: 60 * (s[0] - s[1]) / step),
        line("failed", lambda s, step: 60 * s[1] / step),
    )
    waited = (
        line("p50", lambda s, step: quantile(s[4:], 0.5), None),
        line("p95", lambda s, step: quantile(s[4:], 0.95), None),
    )
    return [
        Chart("Token throughput", "tokens/s", step_s, moments, tokens),
        Chart("Requests", "requests/min", step_s, moments, asked),
        Chart("Time to first token", "ms", step_s, moments, waited),
    ]


def _moments(length_s: int, step_s: int, now: datetime) -> tuple[datetime, ...]:
    last = floor(now, step_s)
    count = length_s // step_s
    return tuple(last - timedelta(seconds=step_s * number) for number in range(count - 1, -1, -1))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None
