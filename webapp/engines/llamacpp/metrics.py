"""How llama-server names its numbers (`--metrics`). It no longer tells how full its key-value cache is."""

from webapp.engines.metrics import COMPLETION_TOKENS, PROMPT_TOKENS, RUNNING, WAITING, Metrics

METRICS = Metrics(
    gauges={
        "llamacpp:requests_processing": (RUNNING, 1.0),
        "llamacpp:requests_deferred": (WAITING, 1.0),
    },
    counters={
        "llamacpp:prompt_tokens_total": PROMPT_TOKENS,
        "llamacpp:tokens_predicted_total": COMPLETION_TOKENS,
    },
)
