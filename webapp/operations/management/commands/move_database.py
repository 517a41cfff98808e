"""Carry this installation to another database."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.operations import moving

VARIABLE = "MODELYARD_MOVE_TO"


class Command(BaseCommand):
    help = "Copy everything into another, empty database (SQLite to PostgreSQL or back), and compare both."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to",
            default=os.environ.get(VARIABLE),
            help=f"postgresql://user@host/name or sqlite:///path; with a password in it rather as {VARIABLE}, "
            "which no process list shows",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["to"]
        if not url:
            raise CommandError(f"Name the new database with --to URL or {VARIABLE}.")
        try:
            moved = moving.move(url, self._say)
        except moving.MoveRefused as error:
            raise CommandError(str(error)) from error
        if moved.cleaned:
            self.stdout.write(f"{moved.cleaned} texts held NUL characters, which were left out.")
        self.stdout.write(
            f"Moved {sum(moved.rows.values())} rows in {len(moved.rows)} tables; counts and checksums agree.\n"
            f"The database of before is untouched. Set this for every process, then start again:\n\n"
            f"    MODELYARD_DATABASE_URL={moving.shown(url)}\n"
        )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
