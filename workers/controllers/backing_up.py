"""The daily backup. It may take longer than a task may, so it runs in a process of its own and reports by its row."""

import logging
import subprocess
import sys
import threading

from webapp.foundation.paths import REPOSITORY
from webapp.operations import backups

logger = logging.getLogger(__name__)


def begin_if_due() -> bool:
    """Start the daily backup when it is due and nobody else has; whether it was started."""
    row = backups.begin_scheduled()
    if row is None:
        return False
    command = [sys.executable, "-m", "webapp.operations", "backup", "--row", str(row.pk)]
    # In the worker's own group: it ends with the worker, and the row says so later.
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL)
    threading.Thread(target=_reap, args=(process,), name="backup", daemon=True).start()
    return True


def _reap(process: "subprocess.Popen[bytes]") -> None:
    if process.wait() != 0:
        logger.error("the daily backup failed: see the home page or the line above")
