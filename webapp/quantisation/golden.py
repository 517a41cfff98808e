"""Golden prompts: questions whose answers must hold something. Pure; the quantisers' images carry this very file.

As people write them, with an empty line between two and what is expected on the last line of each:

    What is the capital of France?
    contains: Paris

`contains` looks for a text in whatever case, `matches` for a regular expression (Python's), `equals` compares the whole
answer without the blanks around it.
"""

import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WAYS = ("contains", "matches", "equals")
MOST_PROMPTS = 100
MOST_PROMPT_CHARS = 4000
MOST_EXPECTED_CHARS = 500
# A regular expression that has not found anything after so long is taken for one that does not match.
PATIENCE_S = 2.0

Prompt = dict[str, str]


class BadPrompts(ValueError):
    """These prompts cannot be used; the text says which one and why."""


def parse(text: str) -> list[Prompt]:
    """Prompts as people write them. Raises BadPrompts."""
    blocks = [block.strip() for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")) if block.strip()]
    found = []
    for number, block in enumerate(blocks, 1):
        prompt, _, last = block.rpartition("\n")
        way, colon, expected = last.partition(":")
        if not prompt.strip() or not colon or way.strip().lower() not in WAYS:
            raise BadPrompts(f"Prompt {number} does not end with a line like “contains: Paris”.")
        found.append({"prompt": prompt.strip(), "way": way.strip().lower(), "expected": expected.strip()})
    return checked(found)


def checked(prompts: Sequence[Mapping[str, str]]) -> list[Prompt]:
    """The prompts if each can be asked and judged. Raises BadPrompts."""
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise BadPrompts(f"1 to {MOST_PROMPTS} prompts can be kept; these are {len(prompts)}.")
    for number, one in enumerate(prompts, 1):
        why = _wrong(one)
        if why:
            raise BadPrompts(f"Prompt {number}: {why}.")
    return [{name: one[name] for name in ("prompt", "way", "expected")} for one in prompts]


def is_met(prompt: Mapping[str, str], answer: str) -> bool:
    """Whether an answer holds what is expected. A regular expression that takes too long does not match."""
    way, expected = prompt["way"], prompt["expected"]
    if way == "contains":
        return expected.casefold() in answer.casefold()
    if way == "equals":
        return answer.strip() == expected.strip()
    try:
        with _no_longer_than(PATIENCE_S):
            return re.search(expected, answer) is not None
    except TimeoutError:
        return False


def summary(prompts: Sequence[Mapping[str, str]], answers: Sequence[str]) -> dict[str, Any]:
    """How many were met, and of the others what was answered (shortened)."""
    met = [is_met(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    missed = [
        {"prompt": prompt["prompt"][:200], "wanted": f"{prompt['way']}: {prompt['expected']}", "answer": answer[:300]}
        for prompt, answer, is_good in zip(prompts, answers, met, strict=True)
        if not is_good
    ]
    percent = round(100 * sum(met) / len(met), 2)
    return {"passed": sum(met), "total": len(met), "passed_percent": percent, "missed": missed[:20]}


def _wrong(one: Mapping[str, str]) -> str:
    prompt, way, expected = one["prompt"], one["way"], one["expected"]
    if not prompt.strip() or len(prompt) > MOST_PROMPT_CHARS:
        return f"a prompt has 1 to {MOST_PROMPT_CHARS} characters"
    if way not in WAYS:
        return f"{way!r} is none of {', '.join(WAYS)}"
    if not expected.strip() or len(expected) > MOST_EXPECTED_CHARS:
        return f"what is expected has 1 to {MOST_EXPECTED_CHARS} characters"
    if any("\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text) for text in (prompt, expected)):
        return "it holds what is no character"
    if way == "matches":
        try:
            re.compile(expected)
        except (re.error, OverflowError, RecursionError) as error:
            return f"the regular expression is none ({error})"
    return ""


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Raises TimeoutError: Python's matcher looks for signals while it goes back and forth."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("answers are judged on the main thread")

    def over(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
