"""Answers as people read them: columns, sizes, times. Plain text, so that it starts fast and pipes well."""

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

# What a list shows, by the last word of its path; anything else shows its first plain fields.
COLUMNS: dict[str, tuple[str, ...]] = {
    "deployments": ("id", "team", "name", "state", "artifact", "engine", "desired_replicas", "created_at"),
    "events": ("at", "replica_ordinal", "new_state", "text", "actor"),
    "hosts": ("id", "name", "state", "is_drained", "isolation", "reserved_bytes", "usable_bytes", "disk_free_bytes"),
    "artifacts": ("id", "model", "quantisation", "format", "size_bytes", "created_at", "main_file", "came_from"),
    "jobs": ("id", "kind", "state", "artifact", "host", "step", "requested_by", "created_at"),
    "keys": ("id", "name", "prefix", "team", "scopes", "last_used_at", "expires_at", "revoked_at"),
    "engines": ("name", "title", "formats", "endpoints"),
    "teams": ("id", "name", "slug"),
    "attention": ("word", "title", "since", "reason", "advice"),
    "changes": ("at", "kind", "id", "version"),
}
MAX_COLUMNS = 8
_COLOURS = {
    **dict.fromkeys(("ready", "succeeded", "online", "active", "present"), "32"),
    **dict.fromkeys(("failed", "lost", "unreachable", "refused", "rejected"), "31"),
    **dict.fromkeys(("degraded", "restarting", "pending", "loading", "running", "queued", "pulling"), "33"),
}


def size(number: float) -> str:
    """Bytes as people say them: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "B" or abs(number) >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def span(seconds: float) -> str:
    """A length of time in its largest unit: 3 h."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(text: str, now: datetime | None = None) -> str:
    """An ISO time as how long ago it was, or how long it still takes."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    away = (at - (now or datetime.now(UTC))).total_seconds()
    return f"in {span(away)}" if away > 0 else f"{span(abs(away))} ago"


def cell(name: str, value: Any) -> str:
    """One value, by what its field is called."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if name.endswith("_bytes") or name == "bytes":
            return size(value)
        if name.endswith("_s"):
            return span(value)
        if name.endswith("_ms"):
            return f"{value:.0f} ms"
        return f"{value:,.2f}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return plain(moment(value) if name.endswith("_at") or name in ("at", "since") else value)
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return plain(", ".join(map(str, value))) or "-"
    if isinstance(value, list):
        return str(len(value))
    return plain(json.dumps(value, ensure_ascii=False))


def plain(text: str) -> str:
    """Without characters that steer a terminal: names come from people and files."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def lines(text: str) -> str:
    """Several lines without characters that steer a terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


def as_json(value: Any) -> str:
    """JSON that says the same to a program, and nothing to a terminal but what can be seen."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str], out: TextIO | None = None) -> None:
    """Rows in columns under their names; on a terminal cut to its width."""
    out = out or sys.stdout
    is_terminal = out.isatty()
    lines = [[heading(name) for name in columns]] + [[cell(name, row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    room = shutil.get_terminal_size().columns if is_terminal else 10**6
    for number, line in enumerate(lines):
        text = "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        out.write(_coloured(text[:room], line if number else (), is_terminal) + "\n")


def heading(name: str) -> str:
    """A field's name above its column. The desired state must not look like the state."""
    if name == "desired_state":
        return "WANTED"
    for ending in ("_bytes", "_at", "_count"):
        name = name.removesuffix(ending)
    return name.removeprefix("is_").removeprefix("desired_").replace("_", " ").upper()


def columns_of(path: str, rows: Sequence[dict[str, Any]]) -> Sequence[str]:
    """What to show of a list: as said above, or its first fields that fit a cell."""
    known = COLUMNS.get(path.rpartition("/")[2])
    if known and rows:
        known = tuple(name for name in known if name in rows[0])
    if known:
        return known
    names = [name for row in rows[:1] for name, value in row.items() if not isinstance(value, dict)]
    return names[:MAX_COLUMNS]


def item(thing: dict[str, Any], out: TextIO | None = None) -> None:
    """One thing: a line per field; what has parts of its own comes after as a table."""
    out = out or sys.stdout
    simple = {name: value for name, value in thing.items() if not _has_parts(value)}
    width = max((len(heading(name)) for name in simple), default=0)
    for name, value in simple.items():
        text = f"{value} ({moment(value)})" if isinstance(value, str) and name.endswith("_at") else cell(name, value)
        out.write(f"{heading(name).ljust(width)}  {plain(text)}\n")
    for name, value in thing.items():
        if _has_parts(value):
            out.write(f"\n{heading(name)}\n")
            rows = value if isinstance(value, list) else [{"name": key, "value": one} for key, one in value.items()]
            table(rows, columns_of(name, rows), out)


def _has_parts(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value)
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _coloured(text: str, words: Sequence[str], is_terminal: bool) -> str:
    if is_terminal:
        for word in words:
            if word in _COLOURS:
                return text.replace(word, f"\x1b[{_COLOURS[word]}m{word}\x1b[0m", 1)
    return text
