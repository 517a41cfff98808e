"""Which host, and which of its accelerators: filters that give reasons, then an order.

Every host that is not chosen has a sentence that says why, and the chosen one says why it was better than the next.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU or slice that could be reserved. `free_bytes` is what the ledger has left."""

    id: str
    vendor: str
    free_bytes: int
    total_bytes: int
    name: str = ""
    is_usable: bool = True  # False: cut into slices, reserved, or faulty
    compute_capability: str = ""
    is_slice: bool = False  # of a GPU: a process of CUDA sees one of them, so they are never used together


@dataclass(frozen=True, slots=True)
class Host:
    """One host as placement sees it. Free memory and disk are what is left after what is reserved."""

    id: int
    name: str
    is_online: bool = True
    is_draining: bool = False
    is_prepared: bool = True  # it has what engines need there
    is_allowed: bool = True  # this team may use it
    free_memory_bytes: int = 0
    total_memory_bytes: int = 0  # what placements may reserve in all
    free_disk_bytes: int = 0
    accelerators: tuple[Accelerator, ...] = ()
    labels: frozenset[str] = frozenset()
    cpu_flags: frozenset[str] = frozenset()  # of its processors; empty: not known
    has_artifact: bool = False
    has_image: bool = False
    replicas: int = 0
    price_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of one replica on one kind of hardware."""

    host_bytes: int
    gpu_bytes: int = 0  # on one accelerator
    further_bytes: int = 0  # what the sum grows by with each further accelerator: its own buffers and driver

    def on(self, count: int) -> int:
        """Bytes on so many accelerators together."""
        return self.gpu_bytes + (count - 1) * self.further_bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be placed. `needs` names the kinds of hardware it can run on, the preferred first."""

    needs: Mapping[str, Need]
    # Why it cannot run on a kind of hardware that the engine has an image for, by that kind and the host's `cpu_flags`.
    unfit: Mapping[tuple[str, frozenset[str]], str] = field(default_factory=dict)
    artifact_bytes: int = 0
    may_fetch: bool = True  # False: only hosts that have the files
    labels: frozenset[str] = frozenset()
    pinned_host: int | None = None
    counts: tuple[int, ...] = (1,)  # how many accelerators of one host the engine can use together, fewest first
    is_even: bool = False  # they all take the same; else each as much as it has room for
    least_capability: float = 0.0  # of NVIDIA GPUs
    strategy: Literal["pack", "spread"] = "pack"

    def why_unfit(self, host: Host, vendor: str) -> str:
        """Why that kind of hardware of this host cannot run it, however much is free; empty when it can."""
        return self.unfit.get((vendor, host.cpu_flags), "")


@dataclass(frozen=True, slots=True)
class Choice:
    """Where it goes."""

    host_id: int
    vendor: str
    accelerator_ids: tuple[str, ...] = ()
    share_bytes: tuple[int, ...] = field(default=(), compare=False)  # what is to be reserved of each


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer with its whole reasoning. `chosen` is None when no host will do."""

    chosen: Choice | None
    why: str
    reasons_by_host: dict[int, str] = field(default_factory=dict)  # every host that was not chosen
    options: dict[int, Choice] = field(default_factory=dict)  # every host that could take it


class When(StrEnum):
    """When a host could take one replica."""

    NOW = "now"
    WHEN_EMPTY = "when_empty"  # its hardware could; what it holds, the state it is in or missing files forbid it now
    NEVER = "never"


Filter = Callable[[Demand, Host], str | None]


@dataclass(frozen=True, slots=True)
class _Option:
    """A way to run it on one host. Options are compared by `rank`: smaller is better."""

    host: Host
    choice: Choice
    rank: tuple[float, ...]


def place(demand: Demand, hosts: Sequence[Host]) -> Decision:
    """Choose a host for one replica. Pure: nothing is reserved; the caller must reserve and may have to ask again."""
    staying: list[Host] = list(hosts)
    reasons: dict[int, str] = {}
    for refuse in FILTERS:
        staying, gone = apply(refuse, demand, staying)
        reasons |= gone
    options: list[_Option] = []
    for host in staying:
        found = _best_option(demand, host)
        if isinstance(found, str):
            reasons[host.id] = found
        else:
            options.append(found)
    if not options:
        return Decision(None, _nowhere(reasons), reasons)
    options.sort(key=lambda option: option.rank)
    found_by_host = {option.host.id: option.choice for option in options}
    best = options[0]
    for other in options[1:]:
        reasons[other.host.id] = f"{best.host.name} is better: {_advantage(best, other)}."
    why = f"Only {best.host.name} can take it." if len(hosts) > 1 else f"{best.host.name} can take it."
    if len(options) > 1:
        why = f"{best.host.name}: {_advantage(best, options[1])}."
    return Decision(best.choice, why, reasons, found_by_host)


def could(demand: Demand, host: Host) -> Choice | None:
    """Where on this host it would go, if nobody else had anything there and the host were at work and had the files."""
    cards = tuple(replace(card, free_bytes=card.total_bytes) for card in host.accelerators)
    empty = replace(
        host,
        is_online=True,
        is_draining=False,
        is_prepared=True,
        has_artifact=True,
        free_memory_bytes=host.total_memory_bytes,
        accelerators=cards,
    )
    return place(demand, [empty]).chosen


def apply(refuse: Filter, demand: Demand, hosts: Sequence[Host]) -> tuple[list[Host], dict[int, str]]:
    """One filter over all hosts: who stays, and the reason for each that goes."""
    staying: list[Host] = []
    gone: dict[int, str] = {}
    for host in hosts:
        reason = refuse(demand, host)
        if reason is None:
            staying.append(host)
        else:
            gone[host.id] = reason
    return staying, gone


def _not_allowed(demand: Demand, host: Host) -> str | None:
    return None if host.is_allowed else "This team may not use the host."


def _not_pinned(demand: Demand, host: Host) -> str | None:
    return None if demand.pinned_host in (None, host.id) else "It is pinned to another host."


def _lacks_label(demand: Demand, host: Host) -> str | None:
    missing = demand.labels - host.labels
    return f"The host lacks the label {', '.join(sorted(missing))}." if missing else None


def _offline(demand: Demand, host: Host) -> str | None:
    return None if host.is_online else "The host cannot be reached."


def _draining(demand: Demand, host: Host) -> str | None:
    return "The host is being drained." if host.is_draining else None


def _not_prepared(demand: Demand, host: Host) -> str | None:
    return None if host.is_prepared else "The host has not been prepared for engines yet."


def _lacks_files(demand: Demand, host: Host) -> str | None:
    return None if demand.may_fetch or host.has_artifact else "The model's files are not on the host."


def _lacks_hardware(demand: Demand, host: Host) -> str | None:
    kinds = [*dict.fromkeys(one.vendor for one in host.accelerators if one.is_usable), "cpu"]
    usable = [kind for kind in kinds if kind in demand.needs]
    if any(not demand.why_unfit(host, kind) for kind in usable):
        return None
    if usable:
        return " ".join(dict.fromkeys(demand.why_unfit(host, kind) for kind in usable))
    return f"The host has no usable {_listed(demand.needs)} accelerator."


def _lacks_disk(demand: Demand, host: Host) -> str | None:
    if host.has_artifact or host.free_disk_bytes >= demand.artifact_bytes:
        return None
    return f"The files take {_gib(demand.artifact_bytes)}, its disk has {_gib(host.free_disk_bytes)} left."


FILTERS: tuple[Filter, ...] = (
    _not_allowed,
    _not_pinned,
    _lacks_label,
    _offline,
    _draining,
    _not_prepared,
    _lacks_files,
    _lacks_hardware,
    _lacks_disk,
)


def _best_option(demand: Demand, host: Host) -> _Option | str:
    """The first kind of hardware of the demand that has room there, else the sentence that says what is missing."""
    refusals: list[str] = []
    there = {card.vendor for card in host.accelerators if card.is_usable}
    for preference, (vendor, need) in enumerate(demand.needs.items()):
        if vendor != "cpu" and vendor not in there:
            continue  # not lacking: another host has it, and this one is asked for what it has
        unfit = demand.why_unfit(host, vendor)
        if unfit:
            refusals.append(unfit)
            continue
        if host.free_memory_bytes < need.host_bytes:
            refusals.append(f"It needs {_gib(need.host_bytes)} of memory, {_gib(host.free_memory_bytes)} are free.")
            continue
        if vendor == "cpu":
            return _option(demand, host, Choice(host.id, vendor), preference, host.free_memory_bytes - need.host_bytes)
        chosen = _accelerators(demand, host, vendor, need)
        if isinstance(chosen, str):
            refusals.append(chosen)
            continue
        total = need.on(len(chosen))
        choice = Choice(host.id, vendor, tuple(one.id for one in chosen), _shares(demand, chosen, total))
        left = sum(one.free_bytes for one in chosen) - total
        return _option(demand, host, choice, preference, left)
    return " ".join(dict.fromkeys(refusals))


def _option(demand: Demand, host: Host, choice: Choice, preference: int, left_bytes: int) -> _Option:
    fit = left_bytes if demand.strategy == "pack" else -left_bytes
    crowd = 0 if demand.strategy == "pack" else host.replicas
    rank = (
        preference,
        len(choice.accelerator_ids),
        not host.has_artifact,
        not host.has_image,
        crowd,
        host.price_per_hour,
        fit,
        host.id,
    )
    return _Option(host, choice, rank)


def _accelerators(demand: Demand, host: Host, vendor: str, need: Need) -> tuple[Accelerator, ...] | str:
    """The fewest accelerators with room; among single ones the tightest fit, so that big ones stay free."""
    usable = [one for one in host.accelerators if one.vendor == vendor and one.is_usable]
    able = [one for one in usable if _capability(one) >= demand.least_capability]
    if not able:
        return f"It needs compute capability {demand.least_capability:g}; the host's GPUs have less."
    by_room = sorted(able, key=lambda one: (-one.free_bytes, one.id))
    whole = [one for one in by_room if not one.is_slice]
    counts = [count for count in demand.counts if count == 1 or count <= len(whole)]
    if not counts:
        return f"It needs {min(demand.counts)} whole {vendor} accelerators together, the host has {len(whole)}."
    for count in counts:
        if count == 1:
            roomy = [one for one in able if one.free_bytes >= need.gpu_bytes]
            if roomy:
                return (min(roomy, key=lambda one: (one.free_bytes, one.id)),)
        elif _holds(demand, whole[:count], need.on(count)):
            return tuple(whole[:count])
    return _too_small(demand, (whole if counts[-1] > 1 else by_room)[: counts[-1]], vendor, need)


def _holds(demand: Demand, cards: Sequence[Accelerator], total_bytes: int) -> bool:
    if demand.is_even:
        return all(card.free_bytes * len(cards) >= total_bytes for card in cards)
    return sum(card.free_bytes for card in cards) >= total_bytes


def _shares(demand: Demand, cards: Sequence[Accelerator], total_bytes: int) -> tuple[int, ...]:
    """What each of them takes: the same, or in proportion to what it has free."""
    free = sum(card.free_bytes for card in cards)
    if demand.is_even or not free:
        return tuple(-(-total_bytes // len(cards)) for _card in cards)
    return tuple(min(card.free_bytes, -(-total_bytes * card.free_bytes // free)) for card in cards)


def _too_small(demand: Demand, cards: Sequence[Accelerator], vendor: str, need: Need) -> str:
    """What is missing on the most accelerators that it could use together, emptiest first."""
    needed, largest = need.on(len(cards)), cards[0]
    if len(cards) == 1:
        return (
            f"It needs {_gib(needed)} on {vendor}; the most that is free is {_gib(largest.free_bytes)} "
            f"on {largest.name or largest.id}."
        )
    if demand.is_even:
        least = cards[-1]
        return (
            f"It needs {_gib(-(-needed // len(cards)))} on each of {len(cards)} {vendor} accelerators; "
            f"{least.name or least.id} has {_gib(least.free_bytes)} free."
        )
    free = sum(card.free_bytes for card in cards)
    return f"It needs {_gib(needed)} on {len(cards)} {vendor} accelerators together; {_gib(free)} are free."


def _capability(accelerator: Accelerator) -> float:
    """Compute capability as a number; other vendors' names have no order and are not held to one."""
    if accelerator.vendor != "nvidia":
        return float("inf")
    try:
        return float(accelerator.compute_capability)
    except ValueError:
        return 0.0


_ADVANTAGES = (
    "it has the preferred hardware",
    "it needs fewer accelerators there",
    "it already has the files",
    "it already has the image",
    "it has fewer replicas",
    "it costs less",
    "it fits more tightly, so larger room stays free elsewhere",
    "they are equal, and it comes first",
)


def _advantage(best: _Option, other: _Option) -> str:
    first = next(at for at, (mine, theirs) in enumerate(zip(best.rank, other.rank, strict=True)) if mine != theirs)
    if first == 6 and best.rank[6] < 0:
        return "it has the most room"
    return _ADVANTAGES[first]


def _nowhere(reasons: Mapping[int, str]) -> str:
    if not reasons:
        return "No hosts yet."
    most, count = Counter(reasons.values()).most_common(1)[0]
    if len(reasons) == 1 or count == len(reasons):
        return f"No host can take it. {most}"
    return f"None of {len(reasons)} hosts can take it; most common reason: {most}"


def _listed(words: Mapping[str, Need]) -> str:
    return " or ".join(words)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
