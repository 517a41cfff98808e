"""One request as it arrives: what its headers say, and which framings are refused."""

import re

import msgspec

from webapp.gateway.http.errors import Problem

MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024
MAX_TARGET_BYTES = 8 * 1024

Header = tuple[bytes, bytes]

# What the gateway itself reads; all others are only passed on.
READ_FIELDS = frozenset(
    b"host content-length transfer-encoding connection expect upgrade authorization x-api-key api-key".split()
    + b"content-type content-encoding accept x-request-id traceparent tracestate".split()
    + b"anthropic-version anthropic-beta origin access-control-request-method access-control-request-headers".split()
)
_ONLY_ONCE = frozenset(b"host content-length transfer-encoding authorization x-api-key api-key".split())
_LISTS = frozenset(b"connection upgrade expect accept content-encoding".split())
_RARE = frozenset(b"transfer-encoding expect upgrade".split())
_NOT_AGAIN = frozenset((b"host", b"upgrade"))
_VERSIONS = frozenset(("1.0", "1.1"))
# The one place where a connection may become something else than HTTP: web's sockets.
_SOCKETS = b"/ws/"
# uri-host [":" port] (RFC 9110, 7.2), without the sub-delims that no name in use has; empty where there is no name.
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{0,5})?\Z")

_ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#@:][^/?#@]*)(?P<rest>[/?][^#]*)?\Z", re.IGNORECASE)

# Clients repeat the same spellings for ever, so what was found out about a name is remembered. Bounded, because names
# come from outside. The second table holds _UNREAD for names that the gateway does not read.
_MAX_REMEMBERED = 2048
_lowered: dict[bytes, bytes] = {}
_fields_by_name: dict[bytes, bytes] = {}
_UNREAD = b""


def lower_name(name: bytes) -> bytes:
    lowered = _lowered.get(name)
    if lowered is None:
        lowered = name.lower()
        if len(_lowered) < _MAX_REMEMBERED and len(name) < 64:
            _lowered[name] = lowered
    return lowered


def _field(name: bytes) -> bytes:
    lowered = name.lower()
    field = lowered if lowered in READ_FIELDS else _UNREAD
    if len(_fields_by_name) < _MAX_REMEMBERED and len(name) < 64:
        _fields_by_name[name] = field
    return field


class Request(msgspec.Struct, gc=False, eq=False):
    """One message of a client. `headers` are all of them in order, `fields` the values of those in READ_FIELDS."""

    method: bytes = b""
    target: bytes = b""
    version: str = ""
    headers: list[Header] = []
    fields: dict[bytes, bytes] = {}
    body: list[bytes] = []
    body_bytes: int = 0
    content_length: int | None = None
    is_chunked: bool = False
    is_complete: bool = False
    keeps_alive: bool = False
    asks_close: bool = False
    awaits_continue: bool = False
    wants_websocket: bool = False
    problem: Problem | None = None
    engine_lines: bytes | None = None  # noted by engine_request

    def again(self, length: int) -> "Request":
        """A new message with the same head and a body of `length` bytes. Headers and fields are shared: nobody changes
        them."""
        return Request(
            self.method,
            self.target,
            self.version,
            self.headers,
            self.fields,
            content_length=length,
            asks_close=self.asks_close,
            engine_lines=self.engine_lines,
        )

    @property
    def is_plain(self) -> bool:
        """Readable, and framed by its Content-Length with nothing special about it."""
        return bool(self.content_length) and self.problem is None and _RARE.isdisjoint(self.fields)

    def without_upgrade(self) -> bytes:
        """The head once more, as it would be had the client offered no other protocol."""
        lines = [b"%b %b HTTP/%b" % (self.method, self.target, self.version.encode())]
        if b"host" in self.fields:
            lines.append(b"host: " + self.fields[b"host"])  # the target's, where that named one
        lines += [b"%b: %b" % header for header in self.headers if lower_name(header[0]) not in _NOT_AGAIN]
        return b"\r\n".join((*lines, b"", b""))

    def take_body(self) -> bytes:
        """The whole body, once; the pieces are let go."""
        pieces, self.body = self.body, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_head(self, method: bytes, version: str, is_http: bool = True) -> None:
        """Understand the header section. What cannot be accepted becomes `problem`."""
        self.method = method
        self.version = version
        try:
            self._read_fields()
            self._check(is_http)
        except Problem as problem:
            self.problem = problem

    def check_head_size(self) -> None:
        """For heads that may be large: costs a look at every header."""
        size = len(self.target) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self.problem is None and size > MAX_HEAD_BYTES:
            self.problem = too_large_head(f"more than {MAX_HEAD_BYTES} bytes")

    def _read_fields(self) -> None:
        headers = self.headers
        if len(headers) > MAX_HEADERS:
            raise too_large_head(f"more than {MAX_HEADERS} headers")
        fields = self.fields
        remembered = _fields_by_name.get
        for name, value in headers:
            field = remembered(name)
            if field is None:
                field = _field(name)
            if field:
                if field in fields:
                    value = _again(field, fields[field], value)
                fields[field] = value

    def _check(self, is_http: bool) -> None:
        fields = self.fields
        if self.version not in _VERSIONS:
            message = f"HTTP/{self.version} is not spoken here: HTTP/1.1 is"
            raise Problem(505, "http_version_not_supported", message, close=True)
        if not is_http:
            raise bad_request("its first line is not a method, a target and HTTP/1.1 with one space between each")
        host = fields.get(b"host")
        if host is None:
            if self.version != "1.0":
                raise bad_request("the Host header is missing")
        elif not _HOST.match(host):
            raise bad_request("the Host header is not the name or address of one host")
        if not self.target.startswith(b"/"):
            self._take_host_from_target()
        length = fields.get(b"content-length")
        if length is not None:
            self.content_length = int(length)
        connection = fields.get(b"connection")
        if connection is not None and connection != b"keep-alive":
            self.asks_close = b"close" in connection.lower()
        if not _RARE.isdisjoint(fields):
            self._check_rare(fields)
        if self.method == b"CONNECT":
            raise Problem(405, "method_not_allowed", "This is not a forward proxy: CONNECT is refused", close=True)

    def _take_host_from_target(self) -> None:
        """RFC 9112, 3.2.2: the absolute form is served, and its host counts instead of the Host header."""
        found = _ABSOLUTE.match(self.target)
        if found is not None and _HOST.match(found["host"]):
            rest = found["rest"] or b"/"
            self.target = rest if rest.startswith(b"/") else b"/" + rest
            self.fields[b"host"] = found["host"]

    def _check_rare(self, fields: dict[bytes, bytes]) -> None:
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            self._check_coding(coding)
        if b"expect" in fields:
            self.awaits_continue = fields[b"expect"].lower() == b"100-continue" and self.version != "1.0"
        if b"upgrade" in fields:
            self.wants_websocket = self._opens_socket(fields)

    def _opens_socket(self, fields: dict[bytes, bytes]) -> bool:
        """RFC 6455, 4.1. Any other offer of a protocol is ignored, which RFC 9110, 7.8 allows: the request is served
        as if it had not been made, its body included."""
        return (
            self.method == b"GET"
            and self.version == "1.1"
            and self.target.startswith(_SOCKETS)
            and not self.expects_body
            and b"upgrade" in _tokens(fields.get(b"connection", b""))
            and b"websocket" in _tokens(fields[b"upgrade"])
        )

    def _check_coding(self, coding: bytes) -> None:
        if self.version == "1.0" or coding.strip().lower() != b"chunked" or self.content_length is not None:
            raise bad_request("only Transfer-Encoding: chunked, in HTTP/1.1 and without Content-Length, is understood")
        self.is_chunked = True

    @property
    def expects_body(self) -> bool:
        return self.is_chunked or bool(self.content_length)


def _again(field: bytes, first: bytes, second: bytes) -> bytes:
    """What a header says that comes twice: lists are one list in two lines (RFC 9110, 5.3)."""
    if field in _ONLY_ONCE:
        raise bad_request(f"two {field.decode()} headers: nobody can say which of them counts")
    return b"%b, %b" % (first, second) if field in _LISTS else second


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]


def bad_request(why: str) -> Problem:
    return Problem(400, "bad_request", f"The request cannot be read: {why}", close=True)


def too_large_head(why: str) -> Problem:
    return Problem(431, "headers_too_large", f"The header section is too large: {why}", close=True)


def too_large_body(limit: int) -> Problem:
    message = f"The body is larger than the {limit} bytes accepted here (MODELYARD_MAX_BODY_BYTES)"
    return Problem(413, "body_too_large", message, close=True)
