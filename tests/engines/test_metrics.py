"""How many requests an engine works on, out of its own words."""

import pytest

from webapp import engines
from webapp.engines.metrics import RUNNING, WAITING, requests_at_work


@pytest.mark.parametrize(
    ("engine", "text", "running"),
    [
        ("llamacpp", "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n", 3),
        ("vllm", 'vllm:num_requests_running{model_name="a"} 1.0\nvllm:num_requests_waiting{model_name="a"} 0.0\n', 1),
        ("llamacpp", "# HELP llamacpp:requests_processing 9\nllamacpp:requests_processing 0\n", 0),
        ("llamacpp", "process_cpu_seconds_total 12\n", None),
        ("llamacpp", "vllm:num_requests_running 3\n", None),
        ("llamacpp", "", None),
        ("llamacpp", "llamacpp:requests_deferred 1e999\n", None),
        ("llamacpp", "llamacpp:requests_deferred 1.2.3\n", None),
        ("llamacpp", "llamacpp:requests_deferred 1e999\nllamacpp:requests_processing 2\n", 2),
    ],
)
def test_running_requests_are_read_from_the_engines_own_words(engine: str, text: str, running: int | None) -> None:
    names = engines.get(engine).metrics
    assert names is not None
    assert requests_at_work(text, names) == running


def test_an_engine_that_tells_of_itself_tells_what_keeps_it_from_being_stopped() -> None:
    for engine in engines.all():
        if engine.metrics is not None:
            assert {RUNNING, WAITING} <= {word for word, _factor in engine.metrics.gauges.values()}, engine.name
