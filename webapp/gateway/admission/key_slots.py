"""How many requests one key, or one person in the playground, has in flight: over all gateway processes, and capped.

Nothing is queued: who has too many is told at once, and everybody else is served as if nothing had happened.
"""

from webapp.gateway.admission import refusals
from webapp.gateway.process.state import State
from webapp.gateway.routing.credentials import Principal

NONE = -1


def take(state: State, principal: Principal) -> int:
    """Count one more request; returns the cell to give back. Raises Problem 429."""
    table = state.key_table
    # Two rows a number, so that keys and people do not meet.
    cell = table.cell(2 * principal.user + 1 if principal.key is None else 2 * principal.key)
    limit = state.settings.max_key_requests
    if table.outstanding(cell) >= limit:
        raise refusals.too_many_requests(limit)
    table.cells[cell] += 1
    return cell


def give_back(state: State, cell: int) -> None:
    if cell != NONE:
        state.key_table.cells[cell] -= 1
