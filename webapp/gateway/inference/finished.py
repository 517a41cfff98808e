"""An exchange that is over, as those see it who count it."""

from typing import Protocol

from webapp.gateway.http.connection import Connection
from webapp.gateway.http.request import Request
from webapp.gateway.inference.document_reply import DocumentReply
from webapp.gateway.inference.request_body import ParsedRequest
from webapp.gateway.inference.stream_reply import StreamReply
from webapp.gateway.routing.credentials import Principal
from webapp.gateway.routing.directory import Deployment
from webapp.gateway.routing.replicas import Replica
from webapp.gateway.routing.targets import Target


class Finished(Protocol):
    """`wall_started_at` is unix seconds, `started_at` monotonic."""

    front: Connection
    request: Request
    target: Target
    request_id: str
    record_id: str
    wall_started_at: float
    started_at: float
    principal: Principal | None
    deployment: Deployment | None
    parsed: ParsedRequest | None
    reply: DocumentReply | StreamReply | None

    @property
    def replica(self) -> Replica | None: ...

    @property
    def was_sent(self) -> bool:
        """Whether an engine may have got it."""

    def duration_s(self) -> float:
        """Since the whole request was here."""
