"""How much a host that refuses a demand could give it now: what a smaller demand must keep to. Pure."""

from dataclasses import replace

from webapp.planner import placement
from webapp.planner.placement import Choice, Demand, Host, Need


def is_all_that_lacks(demand: Demand, host: Host) -> bool:
    """Memory that is free is the only thing that keeps it from this host."""
    needs = {vendor: Need(0) for vendor in demand.needs}
    return placement.place(replace(demand, needs=needs), [host]).chosen is not None


def most(demand: Demand, host: Host) -> tuple[Choice, int]:
    """The accelerators that could give it the most now, and how many bytes they hold of it together.

    Where all of them take the same, the fullest one counts for each. Without any that it can use: the processors.
    """
    ways = [
        (Choice(host.id, vendor, tuple(card.id for card in cards)), _held(demand, [c.free_bytes for c in cards]))
        for vendor in demand.needs
        if vendor != "cpu" and not demand.why_unfit(host, vendor)
        for cards in _sets(demand, host, vendor)
    ]

    def left(way: tuple[Choice, int]) -> int:
        choice, held = way
        return held - demand.needs[choice.vendor].on(len(choice.accelerator_ids))

    return max(ways, key=left, default=(Choice(host.id, "cpu"), 0))


def _sets(demand: Demand, host: Host, vendor: str) -> list[list[placement.Accelerator]]:
    """The emptiest accelerators of that kind, for each number of them that it can use together."""
    cards = [card for card in host.accelerators if card.vendor == vendor and card.is_usable]
    cards.sort(key=lambda card: (-card.free_bytes, card.id))
    whole = [card for card in cards if not card.is_slice]
    sets = [(cards if count == 1 else whole)[:count] for count in demand.counts]
    return [found for found, count in zip(sets, demand.counts, strict=True) if len(found) == count]


def _held(demand: Demand, free_bytes: list[int]) -> int:
    return min(free_bytes) * len(free_bytes) if demand.is_even else sum(free_bytes)
