"""Who is calling the REST API: a key in one of three headers, or a signed-in browser with its CSRF token."""

from typing import cast

from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.security.apikey import APIKeyHeader
from ninja.utils import check_csrf

from webapp.accounts.auditing import asker
from webapp.accounts.keys import find_key, touch
from webapp.accounts.models import ApiKey, User
from webapp.foundation.errors import NotAllowed

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


KEY_HEADERS = ("X-API-Key", "api-key")


def _presented(request: HttpRequest) -> set[str]:
    """The different credentials in the headers. More than one is nobody's."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    shown = {bearer.strip()} if scheme.lower() == "bearer" else set()
    return (shown | {request.headers.get(name, "").strip() for name in KEY_HEADERS}) - {""}


def _open(request: HttpRequest, text: str | None) -> User | None:
    """The owner of the key when the key may do this; reading wants the scope `read`, changing `manage`."""
    if not text or len(_presented(request)) != 1:
        return None
    key = find_key(text.strip())
    if key is None:
        return None
    source = asker.get()
    if source is not None:
        source.key_prefix = key.prefix
    wanted = "read" if request.method in SAFE_METHODS else "manage"
    if wanted not in key.scopes and "manage" not in key.scopes:
        raise NotAllowed(f"This key lacks the scope {wanted}.", "Create a key with that scope.")
    request.user = key.user
    request.api_key = key  # type: ignore[attr-defined]  # read by `caller_key`
    touch(key)
    return key.user


class BearerKey(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        return _open(request, token)


class HeaderKey(APIKeyHeader):
    def __init__(self, name: str) -> None:
        self.param_name = name
        super().__init__()

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return _open(request, key)


class Browser(APIKeyCookie):
    """Django's session. Unsafe methods need the CSRF token; that check is ours so that its refusal has our shape."""

    param_name = "modelyard_session"

    def __init__(self) -> None:
        super().__init__(csrf=False)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        # Whoever shows a key stands or falls by it: no falling back on a cookie that came along.
        if not request.user.is_authenticated or _presented(request):
            return None
        if request.method not in SAFE_METHODS and check_csrf(request) is not None:
            raise NotAllowed("The request lacks the CSRF token.", "Send the header X-CSRFToken, or use an API key.")
        return request.user


DOORS = [BearerKey(), *map(HeaderKey, KEY_HEADERS), Browser()]


def caller(request: HttpRequest) -> User:
    """The person behind the request; only called after authentication."""
    return cast(User, request.user)


def caller_key(request: HttpRequest) -> ApiKey | None:
    """The key of the request, or None for a browser."""
    return getattr(request, "api_key", None)
