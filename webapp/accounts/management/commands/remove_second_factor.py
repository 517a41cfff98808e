"""The way back in for the only administrator, who has lost the second factor."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.accounts import people
from webapp.accounts.models import User
from webapp.foundation.errors import ServiceError


class Command(BaseCommand):
    help = "Reset somebody's two-factor authentication and end their sessions. The password stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        person = User.objects.people().filter(username=options["username"]).first()
        if person is None:
            raise CommandError(f"There is no user called {options['username']!r}.")
        try:
            people.remove_second_factor(None, person)
        except ServiceError as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{person} no longer has two-factor authentication.")
