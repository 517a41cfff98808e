"""What every page knows. Costs no query."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    """The section that the page is in, this Modelyard's address and version."""
    match = request.resolver_match
    return {
        "section": match.app_name if match else "",
        "site_url": settings.MODELYARD_URL,
        "modelyard_version": _version(),
    }


def _version() -> str:
    try:
        return version("modelyard")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return ""
