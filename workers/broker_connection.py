"""How the workers hold on to the broker: they find it again soon, and a lost connection is never more than that."""

from typing import Any

import kombu
from celery.app.amqp import AMQP
from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError as ConnectionLost


class QoS(redis.QoS):
    """Gives a task's slot back also when the broker cannot be told that the task has ended.

    kombu 5.7 keeps it. A worker whose slots are all taken reads nothing, so once each was lost it stood still for ever
    and never heard that its connection was lost, either. What was not acknowledged, the broker gives out again.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)


class Channel(redis.Channel):
    """Says that the connection is lost when it was closed and a task is still to be acknowledged or given back.

    kombu 5.7 fails with an AttributeError there, which nobody takes for a lost connection: the worker ended.
    """

    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection.client is None:
            raise ConnectionLost("The connection to the broker was closed.")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]  # not in the stubs


class Transport(redis.Transport):
    """kombu's own with that channel."""

    Channel = Channel


class QuickConnection(kombu.Connection):
    """Tries again after 0.2 s, 0.5 s ... 2 s: kombu's own steps grow to 30 s, which is how long work would lie."""

    def get_transport_cls(self) -> type[Transport]:
        """The one broker there is: Redis or Valkey."""
        return Transport

    def _ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("interval_start", 0.2)
        kwargs.setdefault("interval_step", 0.3)
        kwargs.setdefault("interval_max", 2)
        return super()._ensure_connection(*args, **kwargs)


class QuickAMQP(AMQP):
    """For Celery's `amqp` option."""

    Connection = QuickConnection
