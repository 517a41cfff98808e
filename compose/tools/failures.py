"""How a job's program says that it could not do it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_ADVICE = "Remove models that nobody uses on this host, or give Docker's data folder more room. Then try again."


class FetchError(Exception):
    """The job cannot be done; code, message and advice go to whoever asked.

    `keeps`: what was fetched so far is sound and worth going on with later.
    """

    def __init__(self, code: str, message: str, advice: str, *, keeps: bool = False) -> None:
        super().__init__(message)
        self.code, self.advice, self.keeps = code, advice, keeps


class Hiccup(Exception):
    """The source failed in a way that may pass. `wait_s` is what it asked for, if it did."""

    def __init__(self, message: str, advice: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.advice, self.wait_s = advice, wait_s


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Errors of writing to `target`, in words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError("disk_full", f"The disk of {target} is full.", DISK_ADVICE, keeps=True) from error
        advice = "The models' volume must be writable for user 65534 and its disk healthy."
        raise FetchError("not_allowed", f"{target} cannot be written: {error.strerror}.", advice) from error
