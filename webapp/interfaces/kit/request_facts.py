"""Middleware: lines that are logged while a request is served name the request, the person and the key."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from webapp.foundation import logs

Next = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def request_facts(get_response: Next) -> Any:
    """Bind the facts; asked only when a line is written, so that no request pays a query for them."""
    if iscoroutinefunction(get_response):

        async def answer(request: HttpRequest) -> Any:
            with logs.bound(**_facts(request)):
                return await get_response(request)

        return answer

    def answer_now(request: HttpRequest) -> Any:
        with logs.bound(**_facts(request)):
            return get_response(request)

    return answer_now


def _facts(request: HttpRequest) -> dict[str, logs.Fact]:
    return {
        "request": request.headers.get("X-Request-ID", "")[:80],
        "user": lambda: _user(request),
        "key": lambda: getattr(getattr(request, "api_key", None), "prefix", None),
    }


def _user(request: HttpRequest) -> str | None:
    """The person, if somebody has asked for them already."""
    key = getattr(request, "api_key", None)
    user = key.user if key is not None else getattr(request, "_cached_user", None)
    return getattr(user, "username", None) or None
