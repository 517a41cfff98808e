"""How many requests each replica, or each key, has in flight, over all gateway processes: a table in shared memory.

One row per id, one column per process. A process writes only its own column, so no lock is needed, and zeroes it at
start, so a process that died leaves nothing behind. Rows are found by id modulo ROWS: two ids that share a row make
the choice of a replica, or the cap of a key, a little less fair and nothing worse.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path

from webapp.gateway.settings import MAX_PROCESSES

ROWS = 16_384
_BYTES = ROWS * MAX_PROCESSES * 4


class LoadTable:
    """`cells` is public because the hot path counts in place: `cells[table.cell(replica)] += 1`."""

    def __init__(self, path: Path, index: int, processes: int) -> None:
        self._index = index
        self._processes = processes
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES)
            self._memory = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        self.cells = memoryview(self._memory).cast("I")
        # Requests in flight at the owner of a cell, in all processes. Asked several times per request.
        self.outstanding: Callable[[int], int] = self._sum if processes > 1 else self.cells.__getitem__
        for row in range(ROWS):
            # Reading first keeps untouched pages of the sparse file untouched.
            if self.cells[row * MAX_PROCESSES + index]:
                self.cells[row * MAX_PROCESSES + index] = 0

    def cell(self, number: int) -> int:
        """Where this process counts the replica or key of that number."""
        return (number % ROWS) * MAX_PROCESSES + self._index

    def _sum(self, cell: int) -> int:
        row = cell - self._index
        return sum(self.cells[row : row + self._processes])
