"""Phases of what lives for a while: a table says which may follow which, and any other move is a mistake of ours."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TypeVar

# IntEnum: members of a plain Enum are hashed in Python, and moves are made several times per request.
P = TypeVar("P", bound=IntEnum)


class IllegalMove(Exception):
    """The table of moves has no such move."""


class Into(dict[P, P]):
    """The moves into one phase, to be made with `self.phase = into_body[self.phase]`: one look into a table, where a
    call would cost as much as the move is worth. Raises IllegalMove."""

    def __init__(self, moves: Mapping[P, Iterable[P]], phase: P) -> None:
        super().__init__((before, phase) for before, after in moves.items() if phase in after)
        self._phase = phase

    def __missing__(self, before: P) -> P:
        raise IllegalMove(f"{type(before).__name__}: from {before.name} to {self._phase.name}")
