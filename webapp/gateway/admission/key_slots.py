"""How many requests one key, or one person in the playground, has in flight: over all gateway processes, and capped.

Nothing is queued: who has too many is told at once, and everybody else is served as if nothing had happened.
"""

from webapp.gateway.admission import refusals
from webapp.gateway.routing.credentials import Principal
from webapp.gateway.routing.load_table import LoadTable

NONE = -1


class KeySlots:
    """At most `limit` requests for each."""

    def __init__(self, table: LoadTable, limit: int) -> None:
        self._table = table
        self._limit = limit

    def take(self, principal: Principal) -> int:
        """Count one more request; returns the cell to give back. Raises Problem 429."""
        table = self._table
        # Two rows a number, so that keys and people do not meet.
        cell = table.cell(2 * principal.user + 1 if principal.key is None else 2 * principal.key)
        if table.outstanding(cell) >= self._limit:
            raise refusals.too_many_requests(self._limit)
        table.cells[cell] += 1
        return cell

    def give_back(self, cell: int) -> None:
        if cell != NONE:
            self._table.cells[cell] -= 1
