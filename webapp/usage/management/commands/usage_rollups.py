"""`manage.py usage_rollups`: check the sums of usage against the records; `--rebuild` makes them anew."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.usage import rebuilding


class Command(BaseCommand):
    help = "Check the sums of usage against the records that are still kept, day by day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rebuild", action="store_true", help="replace sums that differ, and the totals")

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for day in rebuilding.days():
            count = rebuilding.differing(day)
            if count:
                wrong += count
                self.stdout.write(f"{day:%Y-%m-%d}: {count} sums differ")
                if options["rebuild"]:
                    rebuilding.rebuild(day)
        if options["rebuild"]:
            rebuilding.rebuild_totals()
            self.stdout.write(f"{wrong} sums and the totals were recomputed.")
        elif wrong:
            raise CommandError(f"{wrong} sums differ from the records. Run it with --rebuild.")
        else:
            self.stdout.write("The sums are what the records add up to.")
