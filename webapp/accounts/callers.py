"""Who is calling the REST API: a key in one of three headers, or a signed-in browser with its CSRF token."""

from typing import cast

from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.security.apikey import APIKeyHeader
from ninja.utils import check_csrf

from webapp.accounts.models import ApiKey, User
from webapp.accounts.services import find_key
from webapp.errors import NotAllowed

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def _open(request: HttpRequest, text: str | None) -> User | None:
    """The owner of the key when the key may do this; reading wants the scope `read`, changing `manage`."""
    key = find_key(text) if text else None
    if key is None:
        return None
    wanted = "read" if request.method in SAFE_METHODS else "manage"
    if wanted not in key.scopes and "manage" not in key.scopes:
        raise NotAllowed(f"This key lacks the scope {wanted}.", "Create a key with that scope.")
    request.user = key.user
    request.api_key = key  # type: ignore[attr-defined]  # read by `caller_key`
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
        if not request.user.is_authenticated:
            return None
        if request.method not in SAFE_METHODS and check_csrf(request) is not None:
            raise NotAllowed("The request lacks the CSRF token.", "Send the header X-CSRFToken, or use an API key.")
        return request.user


DOORS = [BearerKey(), HeaderKey("X-API-Key"), HeaderKey("api-key"), Browser()]


def caller(request: HttpRequest) -> User:
    """The person behind the request; only called where a door was passed."""
    return cast(User, request.user)


def caller_key(request: HttpRequest) -> ApiKey | None:
    """The key that opened the door, or None for a browser."""
    return getattr(request, "api_key", None)
