"""What every page knows. Costs no query."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from webapp.interfaces.pages.dashboard import help_pages


def site(request: HttpRequest) -> dict[str, Any]:
    """The section that the page is in, its help page, this Modelyard's address and version.

    The section is the name of the pages' subject; the dashboard has several: home, search, playground, settings, help.
    """
    match = request.resolver_match
    section = match.app_name if match else ""
    if match and section == "dashboard":
        section = (match.url_name or "").partition("_")[0]
    return {
        "section": section,
        "help_slug": help_pages.slug_for(section),
        "site_url": settings.MODELYARD_URL,
        "modelyard_version": modelyard_version(),
    }


def modelyard_version() -> str:
    try:
        return version("modelyard")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return ""
