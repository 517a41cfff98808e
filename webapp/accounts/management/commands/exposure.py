"""May this Modelyard be reached from other machines?"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.accounts import services
from webapp.accounts.models import User
from webapp.foundation import secret_store


class Command(BaseCommand):
    help = "Fail unless an admin with a password of their own choice exists, or is about to be made."

    def handle(self, *args: Any, **options: Any) -> None:
        if not User.objects.exists() and secret_store.setting("MODELYARD_ADMIN_PASSWORD"):
            return
        if not services.may_be_exposed():
            raise CommandError(
                "Other machines would reach this Modelyard, and nobody has chosen its admin's password.\n"
                "Set MODELYARD_ADMIN_PASSWORD for the first run, or `.venv/bin/python manage.py changepassword admin`, "
                "or leave MODELYARD_BIND at 127.0.0.1."
            )
