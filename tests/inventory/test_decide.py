"""What comes next for a host."""

from datetime import UTC, datetime, timedelta

import pytest

from webapp.control.steps import Wait
from webapp.inventory import decide as d
from webapp.inventory.decide import Observed, View, decide
from webapp.inventory.states import HostState

S = HostState
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("state", list(S))
def test_an_answer_is_recorded_and_who_lives_there_is_told_of_a_return(state: S) -> None:
    assert decide(View(state), Observed()) == d.Record(is_back=state != S.ONLINE)


@pytest.mark.parametrize("state", list(S))
def test_silence_is_recorded(state: S) -> None:
    assert decide(View(state), Observed("timed out")) == d.Lose("timed out")


def test_a_silent_host_waits_while_another_one_is_asked() -> None:
    assert decide(View(S.UNREACHABLE), Observed(waits_its_turn=True)) == Wait(d.IN_LINE_S)


@pytest.mark.parametrize(("silent_s", "again_s"), [(0, 5), (20, 5), (100, 25), (240, 60), (86_400, 60)])
def test_a_silent_host_is_asked_less_and_less_often(silent_s: float, again_s: float) -> None:
    view = View(S.UNREACHABLE, NOW - timedelta(seconds=silent_s))
    assert d.again_s(view, NOW) == again_s


def test_a_host_that_answers_is_looked_at_every_minute() -> None:
    assert d.again_s(View(S.ONLINE, NOW), NOW) == d.FACTS_EVERY_S
