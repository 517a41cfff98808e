"""Which host a replica goes to: every host is asked, and those that do not fit say why. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from webapp.engines.base import HardwareGrant

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class AcceleratorOffer:
    id: int
    uuid: str
    vendor: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HostOffer:
    """A host as placement sees it. Sizes in bytes."""

    id: int
    name: str
    free_bytes: int
    usable_bytes: int
    cpu_count: int
    is_online: bool = True
    is_drained: bool = False
    is_prepared: bool = True  # it has its engine network
    has_copy: bool = True
    replicas_here: int = 0  # of the same deployment
    accelerators: tuple[AcceleratorOffer, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What the replica needs on one kind of hardware, in bytes."""

    host_bytes: int
    accelerator_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    host_id: int
    vendor: str
    host_bytes: int
    # accelerator id -> bytes
    accelerators: tuple[tuple[int, int], ...] = ()
    device_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    host: str
    why: str


# What the replica would need if it were given this hardware; None when the engine does not run on it.
Estimator = Callable[[HardwareGrant], Demand | None]


def choose(
    offers: Iterable[HostOffer], demand: Estimator, wanted_host: int | None = None
) -> tuple[Choice | None, list[Refusal]]:
    """The best place, and why each of the other hosts was refused.

    Accelerators before CPU; then the host with the fewest replicas of this deployment, then the most room left.
    """
    choices: list[tuple[tuple[int, int, int], Choice]] = []
    refusals: list[Refusal] = []
    for offer in offers:
        if wanted_host is not None and offer.id != wanted_host:
            refusals.append(Refusal(offer.name, "another host was asked for"))
            continue
        why = _not_available(offer)
        found = None if why else _fit(offer, demand)
        if isinstance(found, Choice):
            rank = (0 if found.accelerators else 1, offer.replicas_here, -(offer.free_bytes - found.host_bytes))
            choices.append((rank, found))
        else:
            refusals.append(Refusal(offer.name, why or str(found)))
    choices.sort(key=lambda pair: (pair[0], pair[1].host_id))
    return (choices[0][1] if choices else None), refusals


def _not_available(offer: HostOffer) -> str:
    if not offer.is_online:
        return "it does not answer"
    if offer.is_drained:
        return "it takes no new replicas (drained)"
    if not offer.is_prepared:
        return "it has no engine network yet"
    if not offer.has_copy:
        return "the model's files are not on it"
    return ""


def _fit(offer: HostOffer, demand: Estimator) -> Choice | str:
    """A place on this host, or why there is none."""
    cpus = max(offer.cpu_count, 1)
    reason = ""
    # Free memory first, so that one replica takes the emptiest card.
    for card in sorted(offer.accelerators, key=lambda card: (-card.free_bytes, card.id)):
        need = demand(HardwareGrant(card.vendor, (card.uuid,), offer.usable_bytes, cpus))  # type: ignore[arg-type]
        if need is None:
            continue
        if need.accelerator_bytes > card.free_bytes:
            reason = _short("GPU memory", need.accelerator_bytes, card.free_bytes)
            continue
        if need.host_bytes > offer.free_bytes:
            reason = _short("memory", need.host_bytes, offer.free_bytes)
            continue
        return Choice(offer.id, card.vendor, need.host_bytes, ((card.id, need.accelerator_bytes),), (card.uuid,))
    need = demand(HardwareGrant("cpu", (), offer.usable_bytes, cpus))
    if need is None:
        return reason or "the engine does not run on its hardware"
    if need.host_bytes > offer.free_bytes:
        return reason or _short("memory", need.host_bytes, offer.free_bytes)
    return Choice(offer.id, "cpu", need.host_bytes)


def _short(what: str, need: int, free: int) -> str:
    return f"{need / GIB:.2f} GiB of {what} are needed and {max(free, 0) / GIB:.2f} GiB are free"


def explain(refusals: Iterable[Refusal]) -> str:
    """All refusals in one sentence for people."""
    text = "; ".join(f"{refusal.host}: {refusal.why}" for refusal in refusals)
    return f"No host has room. {text}." if text else "There is no host yet."
