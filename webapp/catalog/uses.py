"""Who needs an artifact's files. Apps above this one say here how to ask them; whoever deletes files asks them all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from webapp.accounts.models import User


@dataclass(frozen=True)
class Use:
    """One need. `why` goes on from the name; who is told of other teams' is for the asker to decide.

    `rests`: nothing runs, and nothing can while its team may not use the files.
    """

    name: str
    team: int
    why: str
    rests: bool = False


@dataclass(frozen=True)
class Uses:
    """Who needs something, as far as a person may know."""

    all: tuple[Use, ...] = ()

    def told_to(self, user: User | None) -> list[Use]:
        """Those that this person may know by name, each with its first reason."""
        if user is None or user.is_superuser:
            seen = self.all
        else:
            teams = set(user.teams.values_list("pk", flat=True))
            seen = tuple(use for use in self.all if use.team in teams)
        return list({(use.team, use.name): use for use in reversed(seen)}.values())[::-1]

    def hidden_from(self, user: User | None) -> int:
        """How many there are besides."""
        return len({(use.team, use.name) for use in self.all}) - len(self.told_to(user))


@dataclass(frozen=True)
class Users:
    """How one app is asked: what would break without the files anywhere (by artifact id), without the copy on one host
    (by artifact and host id), and what would only lose its source."""

    anywhere: Callable[[int], Iterable[Use]] = lambda artifact_id: ()
    on_host: Callable[[int, int], Iterable[Use]] = lambda artifact_id, host_id: ()
    as_source: Callable[[int], Iterable[Use]] = lambda artifact_id: ()


_asked: dict[str, Users] = {}


def register(app: str, users: Users) -> None:
    """Ask this app too from now on; called when the app is ready. A second time replaces the first."""
    _asked[app] = users


def anywhere(artifact_id: int) -> list[Use]:
    """Everything that would break without the files, on whatever host."""
    return [use for users in _asked.values() for use in users.anywhere(artifact_id)]


def on_host(artifact_id: int, host_id: int) -> list[Use]:
    """Everything that needs the copy on this host."""
    return [use for users in _asked.values() for use in users.on_host(artifact_id, host_id)]


def as_source(artifact_id: int) -> list[Use]:
    """What would be left without a source; that refuses no deletion."""
    return [use for users in _asked.values() for use in users.as_source(artifact_id)]
