"""The parts of one gateway process, put together."""

import time
from concurrent.futures import ThreadPoolExecutor

from webapp.foundation.body_limit import MAX_BODY_BYTES
from webapp.foundation.paths import web_socket
from webapp.foundation.reach import Address
from webapp.gateway import settings as setting
from webapp.gateway.admission.admission import Admission
from webapp.gateway.admission.body_room import BodyRoom
from webapp.gateway.admission.key_slots import KeySlots
from webapp.gateway.http.connection import Connection
from webapp.gateway.http.cors import Cors
from webapp.gateway.http.pool import Pool
from webapp.gateway.http.request import too_large_body
from webapp.gateway.http.web_client import WebClient
from webapp.gateway.inference.metering import Meter
from webapp.gateway.inference.shared import Shared
from webapp.gateway.ledger.access_log import AccessLog
from webapp.gateway.ledger.journal import UsageJournal
from webapp.gateway.ledger.ledger import Ledger
from webapp.gateway.ledger.segments import Segments
from webapp.gateway.process.poller import Poller
from webapp.gateway.relay import pages
from webapp.gateway.relay.web_relay import Web
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.table import RoutingTable
from webapp.gateway.settings import Settings


class State:
    """Made once, inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cors = Cors(settings.cors_origins)
        self.disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-disk")
        self.table = RoutingTable(LoadTable(setting.load_table_file(), settings.index, settings.processes))
        self.client = WebClient(str(web_socket()))
        journal = UsageJournal(_segments(settings), self.client, self.disk)
        self.ledger = Ledger(AccessLog(setting.access_log_file(settings.index), self.disk), journal)
        self.poller = Poller(self.table, self.client, journal, self.disk)
        self.connections: set[Connection] = set()
        keys = LoadTable(setting.key_table_file(), settings.index, settings.processes)
        bodies = BodyRoom(settings.max_body_bytes, settings.max_buffered_bytes, too_large_body)
        self.inference = Shared(
            table=self.table,
            admission=Admission(self.table, KeySlots(keys, settings.max_key_requests), bodies),
            ledger=self.ledger,
            meter=Meter(),
            cors=self.cors,
            client_stall_timeout_s=settings.client_stall_timeout_s,
            hear_news=self.poller.hear_news,
        )
        self.web = Web(
            pool=Pool(Address("", 0, str(web_socket()))),
            bodies=BodyRoom(MAX_BODY_BYTES, 32 * MAX_BODY_BYTES, pages.too_large),
            ledger=self.ledger,
            public_scheme=settings.public_scheme,
            client_stall_timeout_s=settings.client_stall_timeout_s,
        )

    def close(self) -> None:
        """Let go of the outside world."""
        self.ledger.access_log.close()
        self.table.close()
        self.web.pool.close()
        self.client.close()

    def render_metrics(self) -> bytes:
        journal = self.ledger.journal
        opened = self.table.replicas.opened_connections()
        return self.ledger.metrics.render(
            (
                ("connections", "Open client connections", len(self.connections)),
                ("requests_in_flight", "Requests being served", sum(c.is_busy for c in self.connections)),
                ("buffered_request_bytes", "Request bodies held in memory", self.inference.admission.bodies.held_bytes),
                (
                    "page_body_bytes",
                    "Request bodies that web holds for others than engines",
                    self.web.bodies.held_bytes,
                ),
                ("upstream_connections_opened", "Connections opened to engines", opened),
                ("usage_records", "Usage records made since start", journal.recorded),
                ("usage_records_dropped", "Usage records lost because the disk was full", journal.dropped),
                ("usage_backlog_bytes", "Usage records that web has not confirmed", journal.backlog_bytes()),
                ("snapshot_age_seconds", "Time since web last answered", time.time() - self.poller.polled_at),
            )
        )


def _segments(settings: Settings) -> Segments:
    folder = setting.usage_dir()
    mine = Segments(folder / str(settings.index))
    if settings.index == 0:
        for other in folder.iterdir():
            if other.name.isdigit() and int(other.name) >= settings.processes:
                mine.adopt(other)
    return mine
