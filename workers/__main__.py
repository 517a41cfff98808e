"""`python -m workers`: the pool that carries out tasks.

Celery's own command line is not used: it loads an interactive shell and colours, and its start runs Django's checks,
which import every page. Without both the pool's first process was 25 MB smaller (112 MB before). `make check` runs the
checks, and `refuse_unfit_schema` looks at what may differ between two starts.
"""

import os
import sys

PROCESSES = 2


def main() -> int:
    """Work until told to end; the exit status."""
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    from workers.app import app

    worker = app.Worker(
        pool_cls="prefork", concurrency=PROCESSES, loglevel="INFO",
        # There is one pool: nobody to gossip with.
        without_gossip=True, without_mingle=True, without_heartbeat=True,
    )  # fmt: skip
    worker.start()
    return worker.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
