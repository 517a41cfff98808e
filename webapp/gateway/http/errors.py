"""Refusals and failures in OpenAI's shape, always saying who failed."""

import msgspec

CLIENT = "client"
GATEWAY = "gateway"
ENGINE = "engine"
# Refusals of a request that may be right: the moment is not.
_NOT_THE_CLIENTS = frozenset((408, 429))

REASONS = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    204: b"No Content",
    206: b"Partial Content",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "unavailable_error",
    504: "timeout_error",
}


def blamed(status: int) -> str:
    """Who has to do something about a refusal of the gateway's."""
    return CLIENT if 400 <= status < 500 and status not in _NOT_THE_CLIENTS else GATEWAY


def type_of(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


class Problem(Exception):
    """Something to tell the client: what happened, why, what to do.

    `source` is who failed: client, gateway or engine, by the status when it is left out. `headers` are ready-made
    header lines with their line ends; `close` asks to end the connection because the rest of what comes cannot be
    trusted.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        source: str | None = None,
        headers: bytes = b"",
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.type = type or type_of(status)
        self.param = param
        self.source = source or blamed(status)
        self.headers = headers
        self.close = close


def own_failure() -> Problem:
    """For a mistake of ours, which the log describes."""
    message = "The gateway failed in the middle of this request. Its log says why, under the request's id"
    return Problem(500, "gateway_failed", message, source=GATEWAY, close=True)


def retry_after(seconds: int) -> bytes:
    return b"retry-after: %d\r\n" % seconds


def body_of(problem: Problem, request_id: str) -> bytes:
    """The JSON body. The outer `type` makes Anthropic's clients read it too."""
    return msgspec.json.encode(
        {
            "error": {
                "message": problem.message,
                "type": problem.type,
                "param": problem.param,
                "code": problem.code,
                "source": problem.source,
                "request_id": request_id,
            },
            "type": "error",
        }
    )


def event_of(problem: Problem, request_id: str) -> bytes:
    """The same as the last event of a stream that broke."""
    return b"data: " + body_of(problem, request_id) + b"\n\n"
