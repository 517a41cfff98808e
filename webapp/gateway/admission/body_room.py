"""How much of clients' bodies one process holds, or has web hold, at once."""

from collections.abc import Callable

from webapp.gateway.http.errors import Problem, retry_after

# So much of a body is not worth counting: a page's form, a short question.
SMALL_BYTES = 64 * 1024
# Of a body that is kept while its request runs, even less: with all connections that are allowed it is 40 MB.
TINY_BYTES = 4 * 1024


class BodyRoom:
    """Limits for one kind of body, in bytes: for each, and for all of them together."""

    def __init__(self, max_body_bytes: int, max_held_bytes: int, too_large: Callable[[int], Problem]) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_held_bytes
        self._too_large = too_large
        self.held_bytes = 0

    def check(self, size: int) -> None:
        """Raises Problem 413 for a body that is too large by itself."""
        if size > self._max_body_bytes:
            raise self._too_large(self._max_body_bytes)

    def hold(self, held: int, size: int) -> int:
        """Count a body of `size` bytes, of which `held` are counted already; returns what is counted for it from now
        on. Raises Problem 413 or 503."""
        if size > self._max_body_bytes:
            raise self._too_large(self._max_body_bytes)
        others = self.held_bytes - held
        if others + size > self._max_held_bytes:
            message = "The gateway is overloaded: its memory for request bodies is full. Retry in a few seconds."
            raise Problem(503, "gateway_busy", message, headers=retry_after(2), close=True)
        # Never less than before: who announced a body counts all of it from the start, or many would be let in at once.
        if size > held:
            held = size
        self.held_bytes = others + held
        return held

    def release(self, held: int) -> None:
        self.held_bytes -= held
