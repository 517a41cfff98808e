"""Doors for the gateways alone, on web's private socket: the snapshot, and the usage records."""

import json
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from webapp.deployments import snapshot
from webapp.interfaces.internal.knowing import is_internal
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
    """304 while the caller's version is current, else the whole snapshot."""
    if request.GET.get("version") == snapshot.version():
        return HttpResponse(status=304)
    return JsonResponse(snapshot.build())


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
