"""Settings of the installation, for its admins: an index of what can be set, engines, and what this is made of."""

import platform
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from functools import cache, wraps
from importlib.metadata import Distribution, distributions
from typing import Any, cast

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse

from webapp import engines
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from webapp.interfaces.kit.views import carry_out, person, view
from webapp.interfaces.pages.dashboard import help_pages
from webapp.interfaces.pages.dashboard.context import modelyard_version
from webapp.operations import rotating

VENDORS = ("cpu", "nvidia", "amd", "intel")
LICENCES = settings.BASE_DIR / "static" / "vendor" / "LICENSES.md"


@dataclass(frozen=True)
class Section:
    """A line of the index. One whose page is not part of this Modelyard is left out."""

    view: str
    title: str
    about: str

    @property
    def url(self) -> str:
        try:
            return reverse(self.view)
        except NoReverseMatch:
            return ""


SECTIONS = [
    Section("settings:sign_in", "Sign-in", "Single sign-on (OpenID Connect) and the two-factor policy."),
    Section("people:index", "People", "Users, team membership and administrators."),
    Section("teams:index", "Teams", "Members, roles, invitations, service keys and notifications of each team."),
    Section("audit:index", "Audit log", "Who changed what, when and from where."),
    Section("catalog:hubs", "Hubs", "Hugging Face and mirrors, with access tokens for gated models."),
    Section("catalog:images", "Images", "Which container images may run besides the engines' own."),
    Section("dashboard:settings_engines", "Engines", "Inference engines and their container images."),
    Section("inventory:index", "Hosts", "Labels, prices, reserved memory, and which teams may use a host."),
    Section("dashboard:settings_master_key", "Master key", "Which key encrypts secrets in the database; replace it."),
    Section("dashboard:settings_about", "About", "Versions, and the licences of everything inside."),
]


def admins_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Only for admins of the installation; below `view`."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not person(request).is_superuser:
            raise PermissionDenied("Only an administrator can see the settings.")
        return view(request, *args, **kwargs)

    return checked


@view("GET")
@admins_only
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "dashboard/settings.html", {"sections": [each for each in SECTIONS if each.url]})


@view("GET")
@admins_only
def engine_list(request: HttpRequest) -> HttpResponse:
    """Every engine of the registry: formats, endpoints, images by hardware, and what runs now."""
    running = Replica.objects.exclude(image="").exclude(state=ReplicaState.STOPPED)
    by_image = running.values_list("deployment__engine", "image").annotate(Count("pk")).order_by("image")
    rows = [
        {
            "engine": engine,
            "images": [(vendor, engine.images(vendor)) for vendor in VENDORS if engine.images(vendor)],
            "running": [(image, number) for name, image, number in by_image if name == engine.name],
        }
        for engine in engines.all()
    ]
    return render(request, "dashboard/settings_engines.html", {"rows": rows})


@view("GET", "POST")
@admins_only
def master_key(request: HttpRequest) -> HttpResponse:
    """Which keys there are and what is under them; the button that lets a new one write."""
    if request.method == "POST":
        said = "A new master key writes now. Save it: make backup-key."
        carry_out(request, lambda: rotating.rotate(person(request)), said)
        return redirect("dashboard:settings_master_key")
    return render(request, "dashboard/settings_master_key.html", {"status": rotating.status()})


@view("GET")
@admins_only
def about(request: HttpRequest) -> HttpResponse:
    versions = {
        "Modelyard": modelyard_version() or "a checkout",
        "Python": platform.python_version(),
        "Django": django.get_version(),
        "Database": f"{connection.vendor} {sqlite3.sqlite_version if connection.vendor == 'sqlite' else ''}",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    shipped = help_pages.html(LICENCES.read_text()) if LICENCES.exists() else ""
    context = {"versions": versions, "packages": _packages(), "shipped": shipped}
    return render(request, "dashboard/settings_about.html", context)


@cache
def _packages() -> list[tuple[str, str, str]]:
    """Name, version and licence of every Python package installed beside us."""
    found = {(each.metadata["Name"] or "").lower(): each for each in distributions()}
    return [(each.metadata["Name"], each.version, _licence(each)) for _name, each in sorted(found.items()) if _name]


def _licence(package: Distribution) -> str:
    """As the package states it: the SPDX expression, else its classifier, else the first line of its own words."""
    facts = cast(Message, package.metadata)  # what importlib hands out; its own type names less
    classified = [
        line.rpartition(" :: ")[2] for line in facts.get_all("Classifier") or [] if line.startswith("License")
    ]
    stated = (facts.get("License") or "").strip().partition("\n")[0]
    return (facts.get("License-Expression") or ", ".join(classified) or stated)[:80] or "see its files"
