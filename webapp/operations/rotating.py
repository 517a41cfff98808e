"""Rotate the master key while everything runs.

A new key begins to write beside the one of before, which still reads (the file of the keys says both, and every process
looks at it). Then the rows are encrypted anew, a page at a time, and the gateways' stored table with them. The old key
is dropped when nothing needs it any more and LATEST_WRITE has gone since it wrote last. Each step finds out by itself
what is left to do, so it may be cut off anywhere and be done twice.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from webapp.accounts.auditing import SYSTEM, audit
from webapp.accounts.models import User
from webapp.accounts.roles import require_installation_admin
from webapp.foundation import encrypted, key_ring
from webapp.foundation.errors import Conflict
from webapp.gateway.routing import vault
from webapp.gateway.settings import snapshot_files

logger = logging.getLogger(__name__)

# What was encrypted under the old key just before the new one came is committed within this time: no request and no
# task lasts so long. Playground tokens of the old key end in half of it.
LATEST_WRITE = timedelta(minutes=10)
ROWS_PER_SWEEP = 2000


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A master key by its id, since when it writes (None: nobody wrote that down), and how many rows are under it."""

    id: str
    since: datetime | None
    is_writing: bool
    rows: int


@dataclass(frozen=True, slots=True)
class Status:
    """`rows_behind`: rows that are not under the key that writes. `drops_at`: when the old key may go at the earliest;
    None: at once, or there is none."""

    keys: tuple[KeyUse, ...]
    rows_behind: int
    drops_at: datetime | None

    @property
    def is_rotating(self) -> bool:
        return len(self.keys) > 1


def status() -> Status:
    """Which keys there are and what needs them; two queries per key and encrypted field."""
    keys, fields = key_ring.current(), encrypted.fields()
    return Status(
        tuple(KeyUse(k.id, k.since, k is keys[0], sum(f.under(k).count() for f in fields)) for k in keys),
        sum(field.behind(keys[0]).count() for field in fields),
        _drops_at(keys) if len(keys) > 1 else None,
    )


def rotate(user: User | None, who: str = SYSTEM) -> Status:
    """Let a new key write from now on; `advance` does the rest. One rotation at a time: asked for again, it goes on.

    Raises NotAllowed, and Conflict where the file of the keys cannot be written.
    """
    require_installation_admin(user)
    with key_ring.locked():
        keys = key_ring.current()
        if len(keys) == 1:
            key = key_ring.new()
            # Written down first: a key that nobody asked for must not begin to write.
            audit(user, None, "master-key.rotate", key.id, {"before": keys[0].id, "after": key.id}, who)
            try:
                key_ring.store([key, *keys])
            except OSError as error:
                advice = "Check its folder, then try again: the key of before writes on."
                raise Conflict(f"The file of the master key cannot be written: {error}.", advice) from error
    return status()


def advance(most: int = ROWS_PER_SWEEP, now: datetime | None = None, is_alone: bool = False) -> bool:
    """Go on with a rotation: encrypt up to `most` rows anew, then drop the old key if it is time; whether the rotation
    has ended. With `is_alone` nothing else runs, and nobody need be waited for."""
    keys = key_ring.current()
    if len(keys) == 1:
        return True
    left = most
    for field in encrypted.fields():
        renewed, unreadable = field.renew(left)
        if unreadable:
            logger.warning("%d rows of %s cannot be read with any master key", unreadable, field)
        left -= renewed
        if left <= 0:
            return False
    for path in snapshot_files():
        vault.renew(path)
    if left < most and not is_alone:
        # Whoever has read such a row a moment ago may still write it back as it was: the next round finds that.
        return False
    due = _drops_at(keys)
    if due is not None and not is_alone and (now or timezone.now()) < due:
        return False
    return _drop(keys)


def _drop(keys: key_ring.Ring) -> bool:
    """Forget the old ones of these keys, unless a row came that needs them, or another rotation has begun meanwhile."""
    with key_ring.locked():
        if key_ring.current() != keys or any(field.readable_behind() for field in encrypted.fields()):
            return False
        dropped = [key.id for key in keys[1:]]
        with transaction.atomic():
            # Told only when it was done: a file that cannot be replaced is tried again at every sweep.
            audit(None, None, "master-key.drop", dropped[0], {"dropped": dropped, "writing": keys[0].id})
            key_ring.store(keys[:1])
    return True


def _drops_at(keys: key_ring.Ring) -> datetime | None:
    """None after a restore in the midst of it: nothing ran since."""
    return keys[0].since + LATEST_WRITE if keys[0].since else None
