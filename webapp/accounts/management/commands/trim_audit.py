"""Remove audit entries that are older than the rules of the house want them kept."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from webapp.accounts.auditing import trim

LEAST_DAYS = 30


class Command(BaseCommand):
    help = "Remove audit entries older than --days. The only way that entries go; it leaves an entry itself."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, required=True, help=f"keep this many days (at least {LEAST_DAYS})")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["days"] < LEAST_DAYS:
            raise CommandError(f"Keep at least {LEAST_DAYS} days.")
        number = trim(timezone.now() - timedelta(days=options["days"]))
        self.stdout.write(f"Removed {number} audit entries.")
