"""Announce that something changed. Only the number is stored and only the name is sent: readers re-read the truth."""

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from webapp.foundation.events.models import Topic

logger = logging.getLogger(__name__)


def publish(*names: str) -> None:
    """Count a change of every named topic in the current transaction and wake its readers after the commit.

    The wake-up may be lost (no broker): readers compare versions when they connect and now and then.
    """
    topics = sorted(set(names))  # always in the same order, so that two transactions cannot wait for each other
    for name in topics:
        _count(name)
    transaction.on_commit(lambda: wake(*topics), robust=True)


def wake(*names: str) -> None:
    """Tell the open sockets to look again, without counting a change."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(_send)(layer, names)
    except Exception as error:  # whatever the broker's client raises: the commit has happened and stands
        logger.warning("could not wake the readers of %s: %s", ", ".join(names), error)


async def _send(layer: Any, names: tuple[str, ...]) -> None:
    for name in names:
        await layer.group_send(group(name), {"type": "topic.changed", "topic": name})


def group(name: str) -> str:
    """The channel group of a topic: group names allow letters, digits, `-`, `_` and `.` only."""
    return name.replace(":", ".")


def version(name: str) -> int:
    """The number of the topic's last change; 0 when nothing has happened yet."""
    return Topic.objects.filter(name=name).values_list("version", flat=True).first() or 0


def versions(*names: str) -> dict[str, int]:
    """The same of several topics, in one query."""
    found = dict(Topic.objects.filter(name__in=names).values_list("name", "version"))
    return {name: found.get(name, 0) for name in names}


def _count(name: str) -> None:
    bump = {"version": F("version") + 1, "changed_at": timezone.now()}
    if Topic.objects.filter(name=name).update(**bump):
        return
    try:
        with transaction.atomic():
            Topic.objects.create(name=name, version=1)
    except IntegrityError:  # somebody else created it between our two statements
        Topic.objects.filter(name=name).update(**bump)
