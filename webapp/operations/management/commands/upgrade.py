"""Bring the database to this version."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.operations import backups, upgrading


class Command(BaseCommand):
    help = "Bring the database to this version, after a backup; with --dry-run on a copy only, with a report."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="apply it to a copy, report, change nothing")
        parser.add_argument("--no-backup", action="store_true", help="take no backup first")
        # The launcher holds the lock that says "processes run" while it calls this.
        parser.add_argument("--while-starting", action="store_true", help="(make run)")
        parser.add_argument("--on-a-copy", action="store_true", help="(the inner half of --dry-run)")
        parser.add_argument("--filled-from", type=Path, help="(the inner half of --dry-run)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["on_a_copy"]:
                self.stdout.write(upgrading.on_a_copy(options["filled_from"]))
            elif options["dry_run"]:
                self._report(upgrading.dry_run())
            else:
                self._upgrade(options)
        except (upgrading.UpgradeRefused, OSError) as error:
            raise CommandError(str(error)) from error

    def _upgrade(self, options: dict[str, Any]) -> None:
        steps = upgrading.upgrade(
            self.stdout.write, while_starting=options["while_starting"], with_backup=not options["no_backup"]
        )
        took = sum(step.seconds for step in steps)
        if steps:
            self.stdout.write(f"{len(steps)} migrations applied in {took:.1f} s.")
        elif not options["while_starting"]:
            self.stdout.write(f"The database {backups.database_name()} is up to date.")

    def _report(self, found: upgrading.DryRun) -> None:
        if found.is_new:
            self.stdout.write("The database is empty: an upgrade would make its tables.")
            return
        if not found.steps:
            self.stdout.write("The database is up to date: an upgrade would change nothing.")
            return
        for step in found.steps:
            rows = ", ".join(f"{t} {_count(a)} → {_count(b)} rows" for t, (a, b) in step.rows.items())
            self.stdout.write(f"{step.app} {step.name}: {step.seconds:.2f} s{'; ' + rows if rows else ''}")
        took = sum(step.seconds for step in found.steps)
        self.stdout.write(
            f"{len(found.steps)} migrations in {took:.1f} s on a copy. The database has {_mb(found.size_before)} and "
            f"would have {_mb(found.size_after)}.\nDisk needed with the backup: {_mb(found.needed_bytes)}; free: "
            f"{_mb(found.free_bytes)}.\nNothing was changed. Do it with: manage.py upgrade"
        )


def _count(rows: int | None) -> str:
    return "no" if rows is None else str(rows)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
