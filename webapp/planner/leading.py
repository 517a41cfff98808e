"""Of many hosts, the few that are worth asking where any hardware will do. Pure."""

from collections.abc import Callable, Sequence

from webapp.planner.placement import Accelerator, Host


def leading(hosts: Sequence[Host]) -> list[Host]:
    """Those that offer something beyond every single host before them.

    For a demand that any hardware may meet (no pin, no labels), whatever could go somewhere has its first place among
    these, so that of many hosts few have to be asked.
    """
    found: list[Host] = []
    for host in hosts:
        if not any(_offers_all_of(earlier, host) for earlier in found):
            found.append(host)
    return found


def _offers_all_of(one: Host, other: Host) -> bool:
    flags_are_known = bool(one.cpu_flags) == bool(other.cpu_flags)
    if one.free_memory_bytes < other.free_memory_bytes or one.total_memory_bytes < other.total_memory_bytes:
        return False
    if one.free_disk_bytes < other.free_disk_bytes or not flags_are_known or not one.cpu_flags >= other.cpu_flags:
        return False
    if (_is_at_work(other) and not _is_at_work(one)) or (other.has_artifact and not one.has_artifact):
        return False
    return all(
        _covers(_sizes(one, vendor, of, only_whole), _sizes(other, vendor, of, only_whole))
        for vendor in {card.vendor for card in other.accelerators}
        for of in (lambda card: card.free_bytes, lambda card: card.total_bytes)
        for only_whole in (False, True)
    )


def _is_at_work(host: Host) -> bool:
    return host.is_online and host.is_prepared and host.is_allowed and not host.is_draining


def _sizes(host: Host, vendor: str, of: Callable[[Accelerator], int], only_whole: bool) -> list[int]:
    cards = [card for card in host.accelerators if card.vendor == vendor and card.is_usable]
    return sorted((of(card) for card in cards if not (only_whole and card.is_slice)), reverse=True)


def _covers(sizes: list[int], others: list[int]) -> bool:
    return len(sizes) >= len(others) and all(size >= other for size, other in zip(sizes, others, strict=False))
