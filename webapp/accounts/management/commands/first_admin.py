"""Make the first admin and the first team, and the admin's first key."""

import json
import os
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from webapp.accounts import services
from webapp.accounts.models import ApiKey, User
from webapp.foundation.secret_store import setting


class Command(BaseCommand):
    help = "Make the first admin with a team and an API key. Prints JSON; secrets that exist already are null."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default=os.environ.get("MODELYARD_ADMIN_USER", "admin"))
        parser.add_argument("--team", default="Home", help="name of the first team (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        is_first = not User.objects.filter(is_superuser=True).exists()
        chosen = setting("MODELYARD_ADMIN_PASSWORD")
        password = chosen or secrets.token_urlsafe(15)
        user, team = services.create_first_admin(options["username"], password, options["team"], is_printed=not chosen)
        key = None
        if not ApiKey.objects.filter(user=user).exists():
            _row, key = services.create_key(user, team, "first key")
        answer = {
            "username": user.username,
            "password": password if is_first and not chosen else None,
            "is_new": is_first,
            "team": team.slug,
            "key": key,
        }
        self.stdout.write(json.dumps(answer))
