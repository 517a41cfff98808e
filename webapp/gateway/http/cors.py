"""Which pages of other origins may call the API from a browser (Fetch standard, 3.3: the CORS protocol).

Cookies mean nothing to this API, so no answer ever allows credentials: the page has to send a key, as programs do.
"""

import re

from webapp.gateway.http.errors import Problem

_METHODS = b"access-control-allow-methods: GET, HEAD, POST\r\n"
_USUAL_HEADERS = b"authorization, content-type, x-api-key, api-key"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}\Z")
_MAX_AGE = b"access-control-max-age: 600\r\n"
_ASKED = b"vary: access-control-request-method, access-control-request-headers\r\n"
_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_USUAL_PORTS = {"http": ":80", "https": ":443"}
# What a page's program may read: all that the API promises in headers.
EXPOSED = (
    b"access-control-expose-headers: x-request-id, x-modelyard-served-by, x-modelyard-failed, x-modelyard-warning, "
    b"retry-after, allow, accept-encoding, www-authenticate, openai-processing-ms, content-disposition\r\n"
)
_VARY = b"vary: origin\r\n"
ANY = "*"


def read_origins(text: str) -> tuple[str, ...]:
    """From `https://app.example, http://localhost:3000`, or `*`. Raises ValueError with the part that is none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if ANY in parts:
        return (ANY,)
    return tuple(_origin(part) for part in parts)


def _origin(text: str) -> str:
    """As browsers spell it: lower-case, without the scheme's usual port, without a path."""
    origin = text.lower()
    if not _ORIGIN.match(origin):
        raise ValueError(f"{text!r} is not scheme://host or scheme://host:port")
    scheme = origin.partition(":")[0]
    return origin.removesuffix(_USUAL_PORTS[scheme])


class Cors:
    """The header lines that make a browser show an answer to a page; none for a page that is not named."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._admits_any = ANY in origins
        self.has_origins = bool(origins)
        self._by_origin = {
            origin.encode(): b"access-control-allow-origin: %b\r\n%b%b" % (origin.encode(), EXPOSED, _VARY)
            for origin in origins
        }
        # Without named origins all answers are the same for everybody, and a cache may know it.
        self._to_others = _VARY if origins and not self._admits_any else b""
        self._to_any = b"access-control-allow-origin: *\r\n" + EXPOSED

    def lines(self, origin: bytes | None) -> bytes:
        """For every answer of the API, whatever it is."""
        if self._admits_any:
            return self._to_any
        return self._to_others if origin is None else self._by_origin.get(origin, self._to_others)

    def preflight(self, fields: dict[bytes, bytes]) -> bytes:
        """The lines that answer a preflight, beside `lines`. Raises Problem 403 for an origin that is not named."""
        origin = fields[b"origin"]
        if not self._admits_any and origin not in self._by_origin:
            shown = origin[:200].decode("latin-1")
            message = f"Origin {shown} is not allowed by CORS: add it to MODELYARD_CORS_ORIGINS"
            raise Problem(403, "origin_not_allowed", message)
        wanted = fields.get(b"access-control-request-headers", b"")
        headers = wanted if _HEADER_NAMES.match(wanted) else _USUAL_HEADERS
        return b"%baccess-control-allow-headers: %b\r\n%b%b" % (_METHODS, headers, _MAX_AGE, _ASKED)


def is_preflight(method: bytes, fields: dict[bytes, bytes]) -> bool:
    """Browsers send these by themselves, and never with a credential."""
    return method == b"OPTIONS" and b"origin" in fields and b"access-control-request-method" in fields
