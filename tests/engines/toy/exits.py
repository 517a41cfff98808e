"""How a toy breaks."""

import re

from webapp.engines import exits
from webapp.engines.base import ExitFacts, ExitReason

_NEVER = re.compile(r"(?!)")
_WORDS = exits.Words(
    program="toy",
    gpu_memory=_NEVER,
    host_memory=re.compile(r"toy: no room in the box"),
    option=re.compile(r"toy: what is"),
    model_errors=((r"toy: the spring broke", "The spring broke", "Choose a steady mood."),),
    memory_advice="Take fewer stickers.",
    gpu_advice="",
)


def explain(facts: ExitFacts) -> ExitReason:
    """Why it is not running; never None."""
    return exits.explain(facts, _WORDS)
