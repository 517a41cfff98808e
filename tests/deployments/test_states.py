"""The table of moves and the summary."""

import pytest

from webapp.deployments.states import MOVES, Desired, ReplicaState, backoff_s, summary

S = ReplicaState


def test_every_state_can_be_reached_and_left():
    assert set(MOVES) == set(S)
    assert all(MOVES[state] for state in S)
    assert {new for moves in MOVES.values() for new in moves} == set(S)


def test_a_stop_is_possible_from_everywhere():
    """Whatever state it is in, some chain of moves leads to stopped."""
    reaches = {S.STOPPED}
    while True:
        more = {state for state in S if state not in reaches and MOVES[state] & reaches}
        if not more:
            break
        reaches |= more
    assert reaches == set(S)


def test_nothing_becomes_ready_but_from_loading():
    assert [old for old in S if S.READY in MOVES[old]] == [S.LOADING]


def test_the_wait_after_a_crash_grows_and_stays():
    assert [backoff_s(n) for n in range(1, 9)] == [10, 20, 40, 80, 160, 300, 300, 300]


@pytest.mark.parametrize(
    ("desired", "replicas", "word"),
    [
        (Desired.RUNNING, [], "pending"),
        (Desired.RUNNING, [(S.READY, True)], "ready"),
        (Desired.RUNNING, [(S.READY, True), (S.LOADING, True)], "degraded"),
        (Desired.RUNNING, [(S.FAILED, True)], "restarting"),
        (Desired.RUNNING, [(S.FAILED, False)], "failed"),
        (Desired.RUNNING, [(S.FAILED, True), (S.FAILED, False)], "failed"),
        (Desired.RUNNING, [(S.PENDING, True), (S.LOADING, True)], "loading"),
        (Desired.RUNNING, [(S.LOST, True)], "lost"),
        (Desired.RUNNING, [(S.PAUSED, False), (S.LOADING, True)], "paused"),
        (Desired.RUNNING, [(S.PAUSED, False), (S.READY, True)], "degraded"),
        (Desired.STOPPED, [(S.STOPPED, False)], "stopped"),
        (Desired.STOPPED, [(S.STOPPED, False), (S.DRAINING, True)], "stopping"),
        (Desired.DELETED, [(S.READY, True)], "deleting"),
    ],
)
def test_a_deployment_is_summed_up_in_one_word(desired, replicas, word):
    assert summary(desired, replicas) == word
