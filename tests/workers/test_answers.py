"""What an engine answered to a probe, as people read it; and what is asked again."""

import pytest

from webapp.engines.base import ProbeOutcome
from workers.watcher import answers


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (ProbeOutcome(None, b"", "Connection refused"), ""),
        (ProbeOutcome(503, b'{"error":{"message":"Loading model"}}'), "The engine answers 503: Loading model"),
        (ProbeOutcome(400, b'{"error":"flat"}'), "The engine answers 400: flat"),
        (ProbeOutcome(404, b'{"message":"nothing here"}'), "The engine answers 404: nothing here"),
        (ProbeOutcome(500, b"Internal Server Error"), "The engine answers 500: Internal Server Error"),
        (ProbeOutcome(500, b""), "The engine answers 500."),
        (ProbeOutcome(500, b"\xff\x00\x1b[31m"), "The engine answers 500: \ufffd  [31m"),
        (ProbeOutcome(200, b'{"error":{"message":5}}'), 'The engine answers 200: {"error":{"message":5}}'),
        (ProbeOutcome(500, b"[" * 5000), "The engine answers 500: " + "[" * 300),
    ],
)  # fmt: skip
def test_an_answer_is_told_in_its_own_words(outcome: ProbeOutcome, text: str) -> None:
    assert answers.told(outcome) == text
