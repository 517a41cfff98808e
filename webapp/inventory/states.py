"""The states of a host and the moves between them. Pure."""

from enum import StrEnum


class HostState(StrEnum):
    NEW = "new"
    ONLINE = "online"
    UNREACHABLE = "unreachable"  # silent, or another engine answers: nothing is known of what is on it


MOVES: dict[HostState, frozenset[HostState]] = {
    HostState.NEW: frozenset({HostState.ONLINE, HostState.UNREACHABLE}),
    HostState.ONLINE: frozenset({HostState.UNREACHABLE}),
    HostState.UNREACHABLE: frozenset({HostState.ONLINE}),
}
