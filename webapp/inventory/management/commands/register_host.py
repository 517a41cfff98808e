"""Tell Modelyard about the Docker engine of this machine."""

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.foundation.errors import ServiceError
from webapp.inventory import services


class Command(BaseCommand):
    help = "Register a Docker endpoint as a host. Prints JSON. Registering it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("endpoint", help="for example unix:///var/run/docker.sock")
        parser.add_argument("--name", default="this-machine", help="how the host is called (default: %(default)s)")
        parser.add_argument(
            "--installation",
            type=uuid.UUID,
            help="the installation id found in the engine; taken over by a database that has none yet",
        )
        parser.add_argument(
            "--has-containers",
            action="store_true",
            help="the engine runs containers of this installation: keep those that a new database does not know",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            installation = services.adopt_installation(options["installation"], hold=options["has_containers"])
            host = services.register_host(None, options["name"], options["endpoint"])
        except ServiceError as error:
            raise CommandError(str(error)) from error
        answer = {
            "installation": str(installation.pk),
            "is_on_hold": installation.is_on_hold,
            "host": host.pk,
            "name": host.name,
        }
        self.stdout.write(json.dumps(answer))
