"""How many requests an engine is working on, by its own metrics."""

import http.client

from webapp.engines.metrics import Metrics, requests_at_work


def running_requests(address: str, port: int, names: Metrics | None, timeout_s: float = 1.0) -> int | None:
    """Requests in work or waiting; None when the engine does not say."""
    if names is None:
        return None
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", names.path)
        response = connection.getresponse()
        text = response.read(2_000_000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return requests_at_work(text, names) if response.status == 200 else None
