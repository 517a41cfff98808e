"""Charts as a page of their own and as a part of other pages."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from webapp.accounts.models import User
from webapp.interfaces.kit.views import page_or_panel, person, view
from webapp.samples import charts
from webapp.samples.measures import WINDOW_TITLES, WINDOWS


@view("GET")
def show(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    """`?range=1h|24h|30d`. The page also serves those who want the numbers without scripts."""
    window = request.GET.get("range", "1h")
    if window not in WINDOWS:
        raise Http404
    panel, context = panel_of(person(request), kind, pk, window)
    return page_or_panel(request, "samples/detail.html", panel, context)


def panel_of(user: User, kind: str, pk: int, window: str) -> tuple[str, dict[str, Any]]:
    """The charts as this person may see them. 404 for strangers."""
    found = charts.of(user, kind, pk, window)
    return "samples/_panel.html", {
        "kind": kind,
        "pk": pk,
        "window": window,
        "windows": WINDOW_TITLES,
        "charts": found,
        "data": {"kind": "lines", "charts": [chart.as_json() for chart in found]},
        # New samples come every ten seconds; a point of the longer ranges takes minutes.
        "every_s": 10 if window == "1h" else 120,
    }
