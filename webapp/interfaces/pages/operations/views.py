"""/readyz and /metrics."""

import hmac

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from webapp.accounts import services as accounts
from webapp.foundation import secret_store
from webapp.operations import health

TOKEN = "MODELYARD_METRICS_TOKEN"  # noqa: S105 - the variable's name


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when every part works, else 503; with ?part=worker that part alone. Admins see the parts, others one word."""
    parts = health.parts()
    asked = request.GET.get("part")
    if asked is not None:
        if asked not in parts:
            raise Http404(asked)
        parts = {asked: parts[asked]}
    is_ok = all(part.is_ok for part in parts.values())
    body: dict[str, object] = {"status": "ok" if is_ok else "degraded"}
    if _may_look(request):
        body["parts"] = {n: {"ok": p.is_ok, "what": p.what, "age_s": p.age_s} for n, p in parts.items()}
    response = JsonResponse(body, status=200 if is_ok else 503)
    # Whoever asks every few seconds is told; Django would write a line about each 503 besides.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for whoever has MODELYARD_METRICS_TOKEN, or an admin's key that may read."""
    if not _may_look(request):
        refusal = "Send MODELYARD_METRICS_TOKEN, or an administrator's API key with the scope read, as Bearer.\n"
        response = HttpResponse(refusal, status=401, content_type="text/plain")
        response["WWW-Authenticate"] = "Bearer"
        return response
    # Imported when it is first asked for: a Modelyard without Prometheus saves the memory.
    from webapp.operations import metrics as families

    return HttpResponse(families.render(), content_type=families.CONTENT_TYPE)


def _may_look(request: HttpRequest) -> bool:
    """Prometheus' token, a key of an administrator with the scope read, or such an admin's browser."""
    shown = request.headers.get("Authorization", "")
    scheme, _, text = shown.partition(" ")
    if not shown:
        user = request.user
        return bool(user.is_authenticated and user.is_superuser)
    if scheme.lower() != "bearer":
        return False
    token = secret_store.setting(TOKEN)
    if token and hmac.compare_digest(text.strip().encode(), token.encode()):
        return True
    key = accounts.find_key(text.strip())
    return key is not None and key.user.is_superuser and bool({"read", "manage"} & set(key.scopes))
