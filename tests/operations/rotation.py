"""What the tests of rotating the master key share."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from tests.gateway.stack import eventually
from webapp.operations import rotating


def later() -> Any:
    """When nothing that was encrypted under the old key can still be on its way."""
    return timezone.now() + rotating.LATEST_WRITE + timedelta(minutes=1)


def ended() -> None:
    """Rotation from wherever it is to its end."""
    rotating.rotate(None)
    eventually(lambda: rotating.advance(now=later()))
