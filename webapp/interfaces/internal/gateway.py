"""Doors for the gateways alone, on web's private socket: the snapshot, and the usage records."""

import json
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from webapp.accounts import principals
from webapp.deployments import routes
from webapp.foundation.events import services as events
from webapp.interfaces.internal.knowing import is_internal
from webapp.interfaces.internal.polls import PARTS
from webapp.usage import services

View = Callable[[HttpRequest], HttpResponse]


def gateway_only(view: View) -> View:
    """Let in who knows the installation's internal secret; to anybody else the address does not exist."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        shown = request.headers.get("X-Modelyard-Internal", "")
        if not is_internal(shown.encode()):
            return HttpResponse(status=404)
        return view(request)

    return guarded


@require_GET
@gateway_only
def snapshot_view(request: HttpRequest) -> HttpResponse:
    """The parts whose versions are not the caller's; 304 when both are. What has not changed costs no look at it."""
    # The numbers are read first: a change that comes in between is then delivered twice rather than never.
    numbers = events.versions(*PARTS.values())
    builders = {"principals": principals.build, "routes": routes.build}
    changed = [part for part, topic in PARTS.items() if request.GET.get(part) != str(numbers[topic])]
    if not changed:
        return HttpResponse(status=304)
    return JsonResponse({part: builders[part](numbers[PARTS[part]]) for part in changed})


@csrf_exempt
@require_POST
@gateway_only
def usage_view(request: HttpRequest) -> HttpResponse:
    """Acknowledged only after the commit: the gateway then forgets the records."""
    try:
        records = json.loads(request.body)["records"]
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"error": 'expected {"records": [...]}'}, status=400)
    return JsonResponse({"accepted": services.accept(record for record in records if isinstance(record, dict))})


urlpatterns = [
    path("gateway/snapshot", snapshot_view),
    path("gateway/usage", usage_view),
]
