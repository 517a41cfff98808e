"""The gateway's own refusals of an inference request, in words a person can act on."""

from webapp.gateway.http.errors import ENGINE, Problem, retry_after
from webapp.gateway.routing.directory import Deployment


def key_in_query() -> Problem:
    message = "API keys in the URL end up in logs: send the key in the Authorization header, and rotate this one"
    return Problem(401, "key_in_query", message)


def not_ready() -> Problem:
    message = "The gateway is starting up and has not loaded its keys yet: retry in a few seconds"
    return Problem(503, "gateway_starting", message, headers=retry_after(1))


def unreachable(deployment: Deployment) -> Problem:
    message = f"No replica of '{deployment.name}' could be reached: it may be restarting; retry in a few seconds"
    # 503, not 502: nothing was sent, so asking again is safe and clients do it by themselves.
    return Problem(503, "engine_unreachable", message, source=ENGINE, headers=retry_after(2))


def paused(deployment: Deployment) -> Problem:
    """Nobody knows when it goes on: a request that waits for it would hang."""
    message = f"The replica of '{deployment.name}' that had this request was paused externally: send it again"
    return Problem(503, "engine_paused", message, source=ENGINE, headers=retry_after(2))


def too_many_requests(limit: int) -> Problem:
    message = f"Concurrency limit of this API key reached ({limit} requests): retry when a request finishes"
    return Problem(429, "too_many_requests", message, headers=retry_after(1))


def wrong_method(method: bytes) -> Problem:
    message = f"Method {method.decode('latin-1')} not allowed: use POST"
    return Problem(405, "method_not_allowed", message, headers=b"allow: POST\r\n")


def not_offered(deployment: Deployment, endpoint: str) -> Problem:
    offered = ", ".join(sorted(deployment.endpoints))
    message = f"The model '{deployment.name}' does not offer /v1/{endpoint}; it offers: {offered}"
    return Problem(404, "endpoint_not_offered", message)
