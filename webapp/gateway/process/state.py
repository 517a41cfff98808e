"""What the connections of one gateway process share."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from webapp.foundation.body_limit import MAX_BODY_BYTES
from webapp.foundation.paths import web_socket
from webapp.foundation.reach import Address
from webapp.gateway import settings as setting
from webapp.gateway.admission.body_room import BodyRoom
from webapp.gateway.http.cors import Cors
from webapp.gateway.http.pool import Pool
from webapp.gateway.http.request import too_large_body
from webapp.gateway.http.web_client import WebClient
from webapp.gateway.inference.metering import Meter
from webapp.gateway.ledger.access_log import AccessLog
from webapp.gateway.ledger.journal import UsageJournal
from webapp.gateway.ledger.metrics import Metrics
from webapp.gateway.ledger.refusal_counts import RefusalCounts
from webapp.gateway.ledger.segments import Segments
from webapp.gateway.relay import pages
from webapp.gateway.routing.directory import Directory
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.replicas import Replicas
from webapp.gateway.routing.snapshot import Snapshot
from webapp.gateway.settings import Settings

if TYPE_CHECKING:
    from webapp.gateway.http.connection import Connection


class State:
    """Made once, inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cors = Cors(settings.cors_origins)
        self.disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-disk")
        self.table = LoadTable(setting.load_table_file(), settings.index, settings.processes)
        self.key_table = LoadTable(setting.key_table_file(), settings.index, settings.processes)
        self.replicas = Replicas(self.table)
        self.directory = Directory()
        self.metrics = Metrics()
        self.access_log = AccessLog(setting.access_log_file(settings.index), self.disk)
        self.web = WebClient(str(web_socket()))
        self.web_pool = Pool(Address("", 0, str(web_socket())))
        self.journal = UsageJournal(_segments(settings), self.web, self.disk)
        self.meter = Meter()
        self.refusals = RefusalCounts(self.journal.add_refused)
        self.connections: set[Connection] = set()
        self.bodies = BodyRoom(settings.max_body_bytes, settings.max_buffered_bytes, too_large_body)
        self.page_bodies = BodyRoom(MAX_BODY_BYTES, 32 * MAX_BODY_BYTES, pages.too_large)
        self.is_draining = False
        self.polled_at = 0.0
        # A question asked between two polls, for a request that found nobody ready, and when it began.
        self.asking: asyncio.Task[None] | None = None
        self.asked_at = 0.0

    def adopt(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot from now on. Requests that run keep what they were given."""
        self.directory = Directory(snapshot, self.replicas)
        self.replicas.keep_only(entry.place for d in snapshot.deployments for entry in d.replicas)

    def polled(self) -> None:
        """Web has answered just now."""
        self.polled_at = time.time()
        self.journal.web_is_up()

    def close(self) -> None:
        """Let go of the outside world."""
        self.access_log.close()
        self.replicas.keep_only(())
        self.web_pool.close()
        self.web.close()

    def render_metrics(self) -> bytes:
        return self.metrics.render(
            (
                ("connections", "Open client connections", len(self.connections)),
                ("requests_in_flight", "Requests being served", sum(c.is_busy for c in self.connections)),
                ("buffered_request_bytes", "Request bodies held in memory", self.bodies.held_bytes),
                (
                    "page_body_bytes",
                    "Request bodies that web holds for others than engines",
                    self.page_bodies.held_bytes,
                ),
                ("upstream_connections_opened", "Connections opened to engines", self.replicas.opened_connections()),
                ("usage_records", "Usage records made since start", self.journal.recorded),
                ("usage_records_dropped", "Usage records lost because the disk was full", self.journal.dropped),
                ("usage_backlog_bytes", "Usage records that web has not confirmed", self.journal.backlog_bytes()),
                ("snapshot_age_seconds", "Time since web last answered", time.time() - self.polled_at),
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
