"""What was used, by whom and when: read from the sums, never from the records. The cost does not grow with requests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, QuerySet, Sum

from webapp.accounts.models import User
from webapp.foundation.text import holds, words
from webapp.usage import naming
from webapp.usage.models import Period, Rollup, RollupQuerySet
from webapp.usage.naming import Label
from webapp.usage.ranges import Range

GROUPS = {
    "team": "Team",
    "person": "User",
    "key": "Key",
    "deployment": "Deployment",
    "endpoint": "Endpoint",
    "day": "Day",
}
COLUMNS = {**naming.COLUMNS, "endpoint": "endpoint", "day": "at"}
SORTS = ("name", "requests", "failed", "prompt", "completion", "tokens")
# So many groups have a colour of their own in the chart; the rest is one.
SHOWN_APART = 5


@dataclass(frozen=True)
class Question:
    """What somebody wants to know. Filters hold numbers by the names of COLUMNS."""

    range: Range
    group: str = "deployment"
    filters: Mapping[str, int] = field(default_factory=dict)
    q: str = ""
    sort: str = "-tokens"


@dataclass(frozen=True)
class Row:
    """The sums of one group."""

    label: Label
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Series:
    """One colour of the chart: tokens for each moment of `Chart.moments`."""

    label: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Chart:
    moments: tuple[datetime, ...]
    series: tuple[Series, ...]
    is_hourly: bool

    @property
    def rows(self) -> list[tuple[datetime, tuple[int, ...]]]:
        """The same as a table, newest first."""
        values = zip(*(series.values for series in self.series), strict=True) if self.series else iter(())
        return list(zip(self.moments, values, strict=False))[::-1]

    def as_json(self) -> dict[str, Any]:
        """For charts.js; times in unix seconds."""
        return {
            "kind": "stacked",
            "charts": [
                {
                    "title": "Tokens",
                    "unit": "tokens",
                    "step_s": 3600 if self.is_hourly else 86_400,
                    "at": [int(moment.timestamp()) for moment in self.moments],
                    "series": [{"label": series.label, "values": list(series.values)} for series in self.series],
                }
            ],
        }


@dataclass(frozen=True)
class Report:
    rows: list[Row]
    total: Row
    chart: Chart


def report(user: User, question: Question) -> Report:
    """The answer as this person may see it, in the same few queries whatever the size."""
    days = _sums(user, question, Period.DAY)
    column = COLUMNS[question.group]
    found = list(
        days.values(column).annotate(
            asked=Sum("requests"), lost=Sum("failed"), prompt=Sum("prompt_tokens"), completion=Sum("completion_tokens")
        )
    )
    labels = naming.labels(user, question.group, [row[column] for row in found])
    rows = [
        Row(labels[row[column]], row["asked"], row["lost"], row["prompt"], row["completion"])
        for row in found
        if _matches(labels[row[column]], question.q)
    ]
    return Report(_sorted(rows, question.sort), _total(rows), _chart(user, question, rows))


def _sums(user: User, question: Question, period: Period) -> QuerySet[Rollup]:
    rows: RollupQuerySet = Rollup.objects.filter(period=period)
    rows = rows.visible_to(user)
    chosen = {COLUMNS[name]: number for name, number in question.filters.items()}
    return rows.filter(at__gte=question.range.begins_at, at__lt=question.range.ends_at, **chosen)


def _matches(label: Label, q: str) -> bool:
    return holds(f"{label.text} {label.detail}", words(q))


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    name, is_descending = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTS:
        name, is_descending = "tokens", True
    keys: dict[str, Any] = {
        "name": lambda row: row.label.order,
        "requests": lambda row: row.requests,
        "failed": lambda row: row.failed,
        "prompt": lambda row: row.prompt_tokens,
        "completion": lambda row: row.completion_tokens,
        "tokens": lambda row: row.tokens,
    }
    rows = sorted(rows, key=lambda row: row.label.order)
    return sorted(rows, key=keys[name], reverse=is_descending)


def _total(rows: Iterable[Row]) -> Row:
    rows = list(rows)
    return Row(
        Label("Total", 0),
        sum(row.requests for row in rows),
        sum(row.failed for row in rows),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
    )


def _chart(user: User, question: Question, rows: list[Row]) -> Chart:
    """Tokens per day (per hour for a day or two): the biggest groups apart, the others together."""
    period = Period.HOUR if question.range.is_hourly else Period.DAY
    moments = _moments(question.range)
    sums = _sums(user, question, period)
    lines = _kinds(sums, moments) if question.group == "day" else _biggest(sums, moments, question, rows)
    return Chart(moments, lines, question.range.is_hourly)


def _kinds(sums: QuerySet[Rollup], moments: tuple[datetime, ...]) -> tuple[Series, ...]:
    """Prompt and completion."""
    by_kind = sums.values("at").annotate(prompt=Sum("prompt_tokens"), completion=Sum("completion_tokens"))
    found = {row["at"]: (row["prompt"], row["completion"]) for row in by_kind}
    prompt, completion = zip(*(found.get(moment, (0, 0)) for moment in moments), strict=True)
    return (Series("Prompt", prompt), Series("Completion", completion))


def _biggest(
    sums: QuerySet[Rollup], moments: tuple[datetime, ...], question: Question, rows: list[Row]
) -> tuple[Series, ...]:
    column = COLUMNS[question.group]
    biggest = sorted((row for row in rows if row.tokens), key=lambda row: row.tokens, reverse=True)[:SHOWN_APART]
    has_others = sum(bool(row.tokens) for row in rows) > len(biggest)
    # A search shows what it found and nothing else.
    wanted = [row.label.key for row in (rows if question.q else biggest)]
    apart = _by_moment(sums.filter(**{f"{column}__in": wanted}), column)
    series = tuple(Series(row.label.text, _line(apart.get(row.label.key, {}), moments)) for row in biggest)
    if has_others:
        everything = _by_moment(sums, None)[None] if not question.q else _together(apart)
        whole = _line(everything, moments)
        others = [value - sum(each.values[place] for each in series) for place, value in enumerate(whole)]
        series += (Series("others", tuple(others)),)
    return series


def _by_moment(sums: QuerySet[Rollup], column: str | None) -> dict[Any, dict[datetime, int]]:
    """Tokens by group and moment; with no column everything is one group called None."""
    found: dict[Any, dict[datetime, int]] = {None: {}} if column is None else {}
    names = ("at",) if column is None else ("at", column)
    for row in sums.values(*names).annotate(tokens=Sum(F("prompt_tokens") + F("completion_tokens"))):
        found.setdefault(row[column] if column else None, {})[row["at"]] = row["tokens"]
    return found


def _together(groups: Mapping[Any, Mapping[datetime, int]]) -> dict[datetime, int]:
    total: dict[datetime, int] = {}
    for line in groups.values():
        for moment, tokens in line.items():
            total[moment] = total.get(moment, 0) + tokens
    return total


def _line(found: Mapping[datetime, int], moments: tuple[datetime, ...]) -> tuple[int, ...]:
    return tuple(found.get(moment, 0) for moment in moments)


def _moments(wanted: Range) -> tuple[datetime, ...]:
    step = timedelta(hours=1) if wanted.is_hourly else timedelta(days=1)
    count = int((wanted.ends_at - wanted.begins_at) / step)
    return tuple(wanted.begins_at + number * step for number in range(count))
