"""`python -m workers.watcher`: watch every host until told to end."""

import asyncio
import contextlib
import logging
import os
import signal

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")


def main() -> None:
    import django

    django.setup()
    from webapp.operations.starting import refuse_unfit_schema
    from workers.watcher.main import run

    refuse_unfit_schema()

    async def until_told() -> None:
        work = asyncio.create_task(run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work

    logging.getLogger("workers.watcher").info("watching")
    asyncio.run(until_told())


main()
