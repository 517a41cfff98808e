"""What the exchanges of one process share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from webapp.gateway.admission.admission import Admission
from webapp.gateway.http.cors import Cors
from webapp.gateway.inference.metering import Meter
from webapp.gateway.ledger.ledger import Ledger
from webapp.gateway.routing.table import RoutingTable


@dataclass(slots=True)
class Shared:
    """`hear_news` asks web for a newer snapshot; it waits a moment at most and never raises."""

    table: RoutingTable
    admission: Admission
    ledger: Ledger
    meter: Meter
    cors: Cors
    client_stall_timeout_s: float
    hear_news: Callable[[], Awaitable[None]]
