"""How values are shown: bytes, counts, durations, times, states and icons. Formatting only."""

import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.conf import settings
from django.forms import BoundField, Select
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webapp.accounts.auditing import SYSTEM
from webapp.interfaces.kit.badges import look

register = template.Library()

GIB = 1024**3
MIB = 1024**2


@register.filter
def gib(size_bytes: int | float | str | None) -> str:
    """Bytes in GiB with one decimal; below one, in the largest unit of which there is a tenth; a dash for nothing
    known."""
    if size_bytes is None or isinstance(size_bytes, str):  # a template's missing variable is an empty text
        return "–"
    if 0 < abs(size_bytes) < GIB:
        if abs(size_bytes) >= MIB / 20:
            return f"{size_bytes / MIB:,.1f} MiB"
        return f"{size_bytes / 1024:,.1f} KiB" if abs(size_bytes) >= 1024 else f"{size_bytes:,.0f} B"
    return f"{size_bytes / GIB:,.1f} GiB"


@register.filter
def count(number: int | float | None) -> str:
    """A whole number with thousands separators."""
    return "–" if number is None else f"{number:,.0f}"


@register.filter
def rate(number: float | int | str | None) -> str:
    """A number per minute or in milliseconds: one decimal below ten, none above; a dash for nothing measured."""
    if number is None or isinstance(number, str):  # a template's missing variable is an empty text
        return "–"
    if 0 < number < 0.05:
        return "< 0.1"
    return f"{number:,.1f}" if 0 < number < 10 and not float(number).is_integer() else f"{number:,.0f}"


@register.filter
def price(value: Decimal | None) -> str:
    """An amount of money without needless zeros, two decimals at least; nobody knows the currency."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if value == round(value, 2) else f"{value.normalize():,f}"


@register.filter
def parameters(number: int | None) -> str:
    """A number of parameters as people say it: 135 M, 7.2 B, 1.4 M, 260 K, 5,120."""
    if not number:
        return "–"
    if number >= 1_000_000_000:
        return f"{number / 1e9:.1f} B"
    if number >= 10_000_000:
        return f"{number / 1e6:.0f} M"
    if number >= 1_000_000:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} K" if number >= 10_000 else f"{number:,}"


@register.filter
def amount(number: int | float | None, unit: str = "") -> str:
    """A number in its unit; bytes become GiB or MiB."""
    if number is None:
        return "–"
    if unit in ("bytes", "byte", "B"):
        return gib(number)
    return f"{count(number)} {unit}".strip()


@register.simple_tag
def part_of(done: int | float, total: int | float, unit: str) -> str:
    """12 of 272 tensors; 1.2 GiB of 4.1 GiB, where each may have a unit of its own."""
    return f"{amount(done, unit if unit in ('bytes', 'byte', 'B') else '')} of {amount(total, unit)}"


@register.filter
def duration(value: timedelta | float | int | None) -> str:
    """Seconds as 1 h 12 min, 3 min 4 s, 12 s or 0.4 s."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {left} s"
    return f"{left} s"


@register.filter
def percent(part: int | float | None, whole: int | float | None) -> int:
    """Part of whole as a whole percentage between 0 and 100; 0 when the whole is unknown."""
    if not part or not whole:
        return 0
    return max(0, min(100, math.floor(100 * part / whole)))


@register.filter
def control(field: BoundField) -> SafeString:
    """A form field's widget in the site's dress."""
    name = "form-select" if isinstance(field.field.widget, Select) else "form-control"
    return field.as_widget(attrs={"class": f"{name} is-invalid" if field.errors else name})


@register.simple_tag
def ago(moment: datetime | None, never: str = "never") -> str | SafeString:
    """A time as people say it, with the exact one on hover; the page keeps it current."""
    if moment is None:
        return never
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        moment.isoformat(timespec="seconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S %Z"),
        _relative((timezone.now() - moment).total_seconds()),
    )


def _relative(seconds: float) -> str:
    """What is over is rounded down; what comes is rounded, or a week from now would be "in 6 d" at once."""
    future = seconds < 0
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number = int(abs(seconds) // size)
        if number:
            number = round(abs(seconds) / size) if future else number
            return f"in {number} {name}" if future else f"{number} {name} ago"
    return "just now"


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """One icon of the sprite. Decoration: a word always stands beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        extra,
        static("icons.svg"),
        name,
    )


@register.simple_tag
def as_curl(path: str, method: str = "", body: str = "") -> str:
    """A curl line that asks the REST API the same thing; the method and the JSON body where it changes something."""
    parts = ["curl"]
    if method and method != "GET":
        parts.append(f"-X {method}")
    parts.append("-H 'Authorization: Bearer YOUR_API_KEY'")
    if body:
        parts.append("-H 'Content-Type: application/json' -d '" + body.replace("'", "'\\''") + "'")
    return " ".join([*parts, settings.MODELYARD_URL + path])


@register.inclusion_tag("_badge.html")
def badge(word: str, title: str = "") -> dict[str, Any]:
    """The badge of a state: word, colour and icon."""
    colour, symbol = look(word)
    return {"word": word, "colour": colour, "icon": symbol, "shade": f"text-{colour}", "title": title}


@register.inclusion_tag("_sort.html", takes_context=True)
def sort(context: dict[str, Any], key: str, label: str) -> dict[str, Any]:
    """The head of a column that a list can be sorted by."""
    listing = context["listing"]
    to_url = listing.to_sort(key)
    return {
        "listing": listing,
        "key": key,
        "label": label,
        "to_url": to_url,
        "is_descending": listing.sort == f"-{key}",
    }


@register.simple_tag
def ready_count(replicas: Iterable[Any]) -> int:
    """How many of the replicas answer."""
    return sum(replica.state == "ready" for replica in replicas)


@register.simple_tag
def left(job: Any) -> str:
    """How long a running job will still take if it goes on as it went; nothing while that is a guess."""
    if job.state != "running" or not job.started_at or not job.done or not job.total:
        return ""
    elapsed = (timezone.now() - job.started_at).total_seconds()
    if elapsed < 3 or job.done * 100 < job.total:
        return ""
    return f" · about {duration(elapsed * (job.total - job.done) / job.done)} left"


@register.simple_tag
def elapsed(job: Any) -> str:
    """How long a job took, or has run: the page counts on."""
    if not job.started_at:
        return "–"
    if job.ended_at:
        return duration(job.ended_at - job.started_at)
    since = job.started_at.isoformat(timespec="seconds")
    return format_html('<time datetime="{}" data-running>{}</time>', since, duration(timezone.now() - job.started_at))


@register.filter
def shown_name(name: str) -> str:
    """A key of a stored dict as people read it."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    return spaced[:1].upper() + spaced[1:].lower()


@register.filter
def basis(name: str) -> str:
    """Where a memory term comes from, for people: `config` is computed from the model's config."""
    return {"config": "computed from config"}.get(name, name)


# What Docker calls it, and what people do; what is kept for the program's own use is not here.
DOCKER_FACTS = {
    "ServerVersion": "Docker",
    "OperatingSystem": "System",
    "KernelVersion": "Kernel",
    "Architecture": "Architecture",
    "Driver": "Storage driver",
    "CgroupVersion": "cgroup version",
    "LiveRestoreEnabled": "live-restore",
    "DefaultRuntime": "Default runtime",
    "runtimes": "Runtimes",
    "DockerRootDir": "Docker root dir",
    "SecurityOptions": "Security options",
    "Warnings": "Docker warnings",
}


@register.filter
def docker_facts(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and values of what is known of a host's Docker engine, in one order."""
    return [(label, facts[name]) for name, label in DOCKER_FACTS.items() if name in facts]


@register.filter
def who(name: str) -> str:
    """Who did it. Rows from before it had one name call Modelyard itself by others, and diaries are never rewritten."""
    return SYSTEM if name in ("", "modelyard", "system") else name


@register.filter
def plain_fact(value: Any) -> str:
    """A stored fact in words: lists joined, nothing nested shown as code."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain_fact(part)}" for key, part in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(plain_fact(part) for part in value) or "–"
    return str(value) if value not in (None, "") else "–"


@register.filter
def bits_per_weight(artifact: Any) -> str:
    """Size of the tensors over the number of parameters."""
    facts = artifact.facts
    size, number = facts.get("weights_bytes") or artifact.size_bytes, facts.get("parameters")
    return f"{size * 8 / number:.2f}" if number else "–"


@register.filter
def fact_of_file(value: Any, name: str) -> str:
    """A value of a file's header: sizes as sizes, numbers with separators."""
    if name.endswith("_bytes") and isinstance(value, int):
        return gib(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    if name == "tensor_bytes":
        return ", ".join(f"{kind} {gib(size)}" for kind, size in value)
    return plain_fact(value)
