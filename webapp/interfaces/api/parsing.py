"""Reads bodies and query strings, and refuses text that no database and no JSON can hold."""

import json
from typing import Any

from django.http import HttpRequest, QueryDict
from ninja.errors import ValidationError
from ninja.parser import Parser
from ninja.types import DictStrAny

# PostgreSQL takes 64-bit integers at most; what is longer is an error of the sender in every field that we have.
MOST = 2**63 - 1


class StrictParser(Parser):
    """JSON as RFC 8259 has it: no NaN or Infinity, no NUL, no half of a surrogate pair, numbers of 64 bits."""

    def parse_body(self, request: HttpRequest) -> Any:
        data = json.loads(request.body, parse_constant=_no_constant, parse_int=_integer, parse_float=_float)
        _check(data, ("body",))
        return data

    def parse_querydict(self, data: Any, list_fields: list[str], request: HttpRequest) -> DictStrAny:
        if isinstance(data, QueryDict):
            for name, values in data.lists():
                for value in values:
                    _check(value, ("query", name))
        return super().parse_querydict(data, list_fields, request)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    number = int(text)
    if not -MOST - 1 <= number <= MOST:
        raise _refusal(("body",), "Numbers must fit in 64 bits.")
    return number


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _refusal(("body",), "Number too large.")
    return number


def _check(value: Any, place: tuple[str | int, ...]) -> None:
    """Walk the value without recursion: json.loads has bounded its depth already. Raises ValidationError."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, place)]
    while waiting:
        item, where = waiting.pop()
        if isinstance(item, str):
            _check_text(item, where)
        elif isinstance(item, dict):
            for key, inner in item.items():
                _check_text(key, where)
                waiting.append((inner, (*where, key)))
        elif isinstance(item, list):
            waiting.extend((inner, (*where, index)) for index, inner in enumerate(item))


def _check_text(text: str, where: tuple[str | int, ...]) -> None:
    if "\x00" in text:
        raise _refusal(where, "Text must not contain NUL characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refusal(where, "Invalid Unicode (unpaired surrogate).") from None


def _refusal(where: tuple[str | int, ...], message: str) -> ValidationError:
    shown = tuple(str(part).encode("utf-8", "replace").decode().replace("\x00", "?") for part in where)
    return ValidationError([{"type": "value_error", "loc": shown, "msg": message}])
