"""How many requests an engine is working on, by its own metrics."""

import http.client
import re

# llama.cpp, vLLM, SGLang and TGI in turn: running and waiting requests both keep an engine from being stopped.
_BUSY = re.compile(
    r"^(?:llamacpp:requests_processing|llamacpp:requests_deferred|vllm:num_requests_running|vllm:num_requests_waiting"
    r"|sglang:num_running_reqs|sglang:num_queue_reqs|tgi_batch_current_size|tgi_queue_size)(?:\{[^}]*\})?\s+([0-9.eE+-]+)",
    re.MULTILINE,
)


def running_requests(address: str, port: int, timeout_s: float = 1.0) -> int | None:
    """Requests in work or waiting; None when the engine does not say."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read(2_000_000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return parse(text) if response.status == 200 else None


def parse(text: str) -> int | None:
    """The sum of all gauges of requests in a Prometheus text; None when it has none that is a number."""
    values = []
    for number in _BUSY.findall(text):
        try:
            values.append(int(float(number)))
        except (ValueError, OverflowError):
            continue
    return sum(values) if values else None
