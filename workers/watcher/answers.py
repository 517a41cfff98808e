"""What an engine answered to a probe, in one line for people."""

import json

from webapp.engines.base import ProbeOutcome
from webapp.foundation.text import clean_text

MOST_CHARS = 300


def told(outcome: ProbeOutcome) -> str:
    """Its status and its own words; empty when there was no answer."""
    if outcome.status is None:
        return ""
    words = clean_text(_message(outcome.body), MOST_CHARS)
    return f"The engine answers {outcome.status}: {words}" if words else f"The engine answers {outcome.status}."


def _message(body: bytes) -> str:
    """The message of an error in OpenAI's shape or one like it, else the text as it is."""
    text = body[: 16 * MOST_CHARS].decode(errors="replace")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return text
    error = found.get("error", found) if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else text
