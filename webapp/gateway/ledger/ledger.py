"""Everything that one process writes down."""

from webapp.gateway.ledger.access_log import AccessLog
from webapp.gateway.ledger.journal import UsageJournal
from webapp.gateway.ledger.metrics import Metrics
from webapp.gateway.ledger.refusal_counts import RefusalCounts


class Ledger:
    """Numbers for operators, lines for the search, records for the bill, counts of what was refused."""

    def __init__(self, access_log: AccessLog, journal: UsageJournal) -> None:
        self.metrics = Metrics()
        self.access_log = access_log
        self.journal = journal
        self.refusals = RefusalCounts(journal.add_refused)
