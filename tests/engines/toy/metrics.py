"""How a toy names its numbers."""

from webapp.engines.metrics import COMPLETION_TOKENS, RUNNING, WAITING, Metrics

METRICS = Metrics(
    gauges={"toy_playing": (RUNNING, 1.0), "toy_queue": (WAITING, 1.0)},
    counters={"toy_words_total": COMPLETION_TOKENS},
    path="/numbers",
)
