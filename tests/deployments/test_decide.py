"""What comes next for a replica: every state with every desired state and every observation."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from webapp.deployments import decide as d
from webapp.deployments.decide import Container, Observed, Seen, View, decide
from webapp.deployments.states import MOVES, Desired, ReplicaState

S = ReplicaState
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINE = "mine"
RUN, STOP, DELETE = Desired.RUNNING, Desired.STOPPED, Desired.DELETED


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def seen(status: str, attempt: int = 3, container_id: str = MINE) -> Seen:
    return Seen(container_id, 1, attempt, Container(status))


def view(state: ReplicaState, desired: Desired = RUN, **columns: object) -> View:
    has_container = state in (S.STARTING, S.LOADING, S.READY, S.PAUSED, S.DRAINING, S.STOPPING, S.LOST)
    values: dict[str, object] = {"attempt": 3, "container_id": MINE if has_container else "", "state_at": ago(5)}
    return View(state, desired, **{**values, **columns})  # type: ignore[arg-type]


NOTHING = Observed()
ALONE = {status: Observed((seen(status),)) for status in Container}
OLD = Observed((seen("running", attempt=2, container_id="old"), seen("running")))
SILENT_BRIEFLY, SILENT_LONG = Observed(unreachable_s=5), Observed(unreachable_s=31)

TABLE: list[tuple[str, View, Observed, d.Step]] = [
    # Desired to run, from the beginning to ready.
    ("a new one is placed", view(S.PENDING), NOTHING, d.Place()),
    ("a placed one needs an image", view(S.PLACING), NOTHING, d.EnsureImage()),
    ("a pulled image is looked for", view(S.PULLING), NOTHING, d.EnsureImage()),
    ("the container is made once", view(S.STARTING, container_id=""), NOTHING, d.Create()),
    ("a made one is started", view(S.STARTING, container_id=""), ALONE["created"], d.Start(MINE)),
    ("one made before a crash of ours is taken over", view(S.STARTING), ALONE["created"], d.Start(MINE)),
    ("a started one loads", view(S.STARTING), ALONE["running"], d.MoveLoading(MINE)),
    ("a loading one is left alone", view(S.LOADING), ALONE["running"], d.Wait()),
    ("a ready one is left alone", view(S.READY), ALONE["running"], d.Wait()),
    ("one that somebody paused gets no requests", view(S.READY), ALONE["paused"], d.MarkPaused(MINE)),
    ("nor does it get stuck in loading", view(S.LOADING, state_at=ago(1801)), ALONE["paused"], d.MarkPaused(MINE)),
    ("paused at the start", view(S.STARTING), ALONE["paused"], d.MarkPaused(MINE)),
    ("the host is back, and somebody paused it", view(S.LOST), ALONE["paused"], d.MarkPaused(MINE)),
    ("paused for as long as somebody likes", view(S.PAUSED, state_at=ago(9999)), ALONE["paused"], d.Wait()),
    ("unpaused", view(S.PAUSED), ALONE["running"], d.MoveLoading(MINE)),
    ("killed while it was paused", view(S.PAUSED), ALONE["exited"], d.Crash(MINE)),
    ("removed while it was paused", view(S.PAUSED), NOTHING, d.MarkMissing()),
    ("a paused one is stopped without draining", view(S.PAUSED, STOP), ALONE["paused"], d.SendTerm(MINE)),
    ("a paused one does not hear", view(S.STOPPING, STOP, kill_after=ago(0)), ALONE["paused"], d.Kill(MINE)),
    ("a paused one on a silent host", view(S.PAUSED), SILENT_LONG, d.Lost()),
    # Deaths.
    ("death while loading", view(S.LOADING), ALONE["exited"], d.Crash(MINE)),
    ("death when ready", view(S.READY), ALONE["exited"], d.Crash(MINE)),
    ("a start that ended at once", view(S.STARTING), ALONE["exited"], d.Crash(MINE)),
    ("a dead container", view(S.READY), ALONE["dead"], d.Crash(MINE)),
    ("being removed by somebody", view(S.READY), ALONE["removing"], d.Wait(d.POLL_S)),
    # Absence.
    ("absent once", view(S.READY), NOTHING, d.MarkMissing()),
    ("absent for a moment", view(S.LOST, missing_since=ago(1)), NOTHING, d.Wait(3)),
    ("absent for certain", view(S.LOST, missing_since=ago(4)), NOTHING, d.Crash()),
    ("there again", view(S.LOST, missing_since=ago(20)), ALONE["running"], d.MoveLoading(MINE)),
    ("absent at the start", view(S.STARTING), NOTHING, d.MarkMissing()),
    # Old attempts go first.
    ("an older one goes first", view(S.READY), OLD, d.Remove("old")),
    ("an older one goes before a new one comes", view(S.STARTING, container_id=""),
     Observed((seen("exited", 2, "old"),)), d.Remove("old")),
    ("a later one is the truth", view(S.READY), Observed((seen("running", attempt=4, container_id="new"),)),
     d.Adopt("new", 1, 4)),
    ("a later one is the truth when stopping too", view(S.STOPPING, STOP), Observed((seen("exited", 4, "new"),)),
     d.Adopt("new", 1, 4)),
    # Loading for ever.
    ("stuck in loading", view(S.LOADING, state_at=ago(1801)), ALONE["running"], d.Crash(MINE, kill=True)),
    ("slow, but moving", view(S.LOADING, state_at=ago(7000), progress_at=ago(20)), ALONE["running"], d.Wait()),
    ("unwell for two minutes", view(S.LOADING, state_at=ago(121), reason_code="unhealthy"), ALONE["running"],
     d.Crash(MINE, kill=True)),
    # After a failure.
    ("nothing without a person", view(S.FAILED), NOTHING, d.Wait(None)),
    ("not yet", view(S.FAILED, next_due_at=NOW + timedelta(seconds=7)), ALONE["exited"], d.Wait(7)),
    ("the old one is removed first", view(S.FAILED, next_due_at=ago(1)), ALONE["exited"], d.Remove(MINE)),
    ("another try", view(S.FAILED, next_due_at=ago(1)), NOTHING, d.RetryNow()),
    # Stopping.
    ("a ready one drains", view(S.READY, STOP), ALONE["running"], d.Drain()),
    ("gateways stop first", view(S.DRAINING, STOP, stop_requested_at=ago(1)), ALONE["running"],
     d.Wait(pytest.approx(1.2))),
    ("idle: the signal", view(S.DRAINING, STOP, stop_requested_at=ago(3)), Observed((seen("running"),), None, 0),
     d.SendTerm(MINE)),
    ("busy: wait", view(S.DRAINING, STOP, stop_requested_at=ago(3)), Observed((seen("running"),), None, 2), d.Wait(1)),
    ("mute: wait", view(S.DRAINING, STOP, stop_requested_at=ago(3)), ALONE["running"], d.Wait(1)),
    ("busy for too long", view(S.DRAINING, STOP, stop_requested_at=ago(30)), Observed((seen("running"),), None, 2),
     d.SendTerm(MINE)),
    ("a loading one needs no draining", view(S.LOADING, STOP), ALONE["running"], d.SendTerm(MINE)),
    ("wait for its end", view(S.STOPPING, STOP, kill_after=NOW + timedelta(seconds=9)), ALONE["running"], d.Wait(1)),
    ("it does not listen", view(S.STOPPING, STOP, kill_after=ago(0)), ALONE["running"], d.Kill(MINE)),
    ("ended: remove", view(S.STOPPING, STOP, kill_after=NOW), ALONE["exited"], d.Remove(MINE)),
    ("removed by us", view(S.STOPPING, STOP, container_id=""), NOTHING, d.FinishStop()),
    ("removed by somebody", view(S.STOPPING, STOP), NOTHING, d.MarkMissing()),
    ("removed by somebody for certain", view(S.STOPPING, STOP, missing_since=ago(16)), NOTHING, d.FinishStop()),
    ("a stop goes on when start is pressed", view(S.STOPPING, RUN, container_id=""), NOTHING, d.FinishStop()),
    ("and then it starts anew", view(S.STOPPED, RUN), NOTHING, d.Begin()),
    ("a waiting one just stops", view(S.PENDING, STOP), NOTHING, d.FinishStop()),
    ("a failed one is cleaned up", view(S.FAILED, STOP), ALONE["exited"], d.Remove(MINE)),
    ("then it has stopped", view(S.FAILED, STOP), NOTHING, d.FinishStop()),
    ("stopped is stopped", view(S.STOPPED, STOP), NOTHING, d.Wait(None)),
    ("stopped and unwanted", view(S.STOPPED, DELETE), NOTHING, d.FinishDelete()),
    # Silence.
    ("silent for a moment", view(S.READY), SILENT_BRIEFLY, d.Wait(5)),
    ("silent for long", view(S.READY), SILENT_LONG, d.Lost()),
    ("still silent", view(S.LOST), SILENT_LONG, d.Wait(d.LOOK_AGAIN_S)),
    ("the host is back", view(S.LOST), ALONE["running"], d.MoveLoading(MINE)),
    ("the host is back, it is not", view(S.LOST), ALONE["exited"], d.Crash(MINE)),
    ("a stop of what cannot be reached waits", view(S.LOST, STOP), SILENT_LONG, d.Wait(d.LOOK_AGAIN_S)),
    ("a stop of what is back", view(S.LOST, STOP), ALONE["running"], d.SendTerm(MINE)),
    ("nothing was made there yet", view(S.PLACING), SILENT_LONG, d.Replan()),
    ("a failed try that left nothing there", view(S.FAILED, next_due_at=ago(1)), SILENT_LONG, d.RetryNow()),
    ("a failed try that left something there", view(S.FAILED, next_due_at=ago(1), container_id=MINE), SILENT_LONG,
     d.Wait(d.LOOK_AGAIN_S)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "observed", "step"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE])
def test_the_next_step_is_the_one_of_the_table(row: View, observed: Observed, step: d.Step) -> None:
    assert decide(row, observed, NOW) == step


LATER = Observed((seen("running", attempt=4, container_id="new"),))
OBSERVATIONS = [NOTHING, OLD, LATER, SILENT_BRIEFLY, SILENT_LONG, *ALONE.values()]
EVERYTHING = list(product(ReplicaState, Desired, OBSERVATIONS, ["", MINE], [None, ago(3), ago(20)]))
DESTROYS = (d.Remove, d.Kill, d.SendTerm)
CREATES = (d.Create, d.Place, d.Begin, d.RetryNow)


def every_decision() -> list[tuple[View, Observed, d.Step]]:
    rows = []
    for state, desired, observed, container_id, date in EVERYTHING:
        row = View(
            state, desired, attempt=3, container_id=container_id, next_due_at=date, state_at=ago(5),
            missing_since=date, stop_requested_at=date, kill_after=date,
        )  # fmt: skip
        rows.append((row, observed, decide(row, observed, NOW)))
    return rows


def test_every_state_with_every_desired_state_and_observation_has_a_step() -> None:
    assert len(every_decision()) == 12 * 3 * (5 + len(Container)) * 2 * 3


def test_nothing_is_destroyed_that_was_not_seen() -> None:
    for _row, observed, step in every_decision():
        if isinstance(step, DESTROYS):
            assert step.container_id in {container.id for container in observed.containers}


def test_a_running_container_of_a_wanted_replica_is_never_stopped() -> None:
    for row, observed, step in every_decision():
        winding_down = row.state in (S.DRAINING, S.STOPPING)
        if row.desired == RUN and not winding_down and isinstance(step, DESTROYS):
            [target] = [container for container in observed.containers if container.id == step.container_id]
            is_current = target.attempt == row.attempt
            # What is left over of a run that has ended goes; the current run's container never does.
            assert not is_current or row.state in (S.FAILED, S.STOPPED)


def test_nothing_is_started_while_the_host_is_silent_and_may_hold_a_container() -> None:
    for row, observed, step in every_decision():
        if observed.unreachable_s is not None and (row.container_id or row.state in (S.STARTING, S.LOST)):
            assert not isinstance(step, CREATES)


def test_nothing_is_created_beside_a_container_that_is_there() -> None:
    for _row, observed, step in every_decision():
        if isinstance(step, (d.Create, d.RetryNow, d.Begin)):
            assert observed.containers == ()


def test_one_sighting_of_absence_ends_nothing() -> None:
    for row, observed, step in every_decision():
        is_absent = row.container_id and not observed.containers and observed.unreachable_s is None
        may_have_one = row.state in (S.STARTING, S.LOADING, S.READY, S.PAUSED, S.LOST, S.DRAINING, S.STOPPING)
        if is_absent and may_have_one and row.missing_since is None:
            assert step == d.MarkMissing()


# Which move of state each step makes, so that no decision can lead to a move that the table forbids.
LEADS_TO = {
    d.Begin: S.PENDING, d.Place: S.PLACING, d.MoveLoading: S.LOADING, d.Crash: S.FAILED, d.RetryNow: S.PENDING,
    d.MarkPaused: S.PAUSED, d.Drain: S.DRAINING, d.SendTerm: S.STOPPING, d.FinishStop: S.STOPPED, d.Lost: S.LOST,
}  # fmt: skip


def test_every_step_leads_to_a_legal_move() -> None:
    for row, _observed, step in every_decision():
        new = LEADS_TO.get(type(step))
        if new is not None:
            assert new in MOVES[row.state], (row, step)
