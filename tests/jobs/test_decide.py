"""What comes next for a job: every state with every desired state and every observation."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from webapp.control.sightings import Container
from webapp.control.steps import Wait
from webapp.jobs import decide as d
from webapp.jobs.decide import Observed, Seen, View, decide
from webapp.jobs.states import ENDED, JobState

S = JobState
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINE = "mine"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


NOTHING = Observed()
ALONE = {status: Observed(Seen(MINE, status)) for status in Container}
OLD = Observed(Seen(MINE, Container.RUNNING), others=(Seen("old", Container.EXITED),))
LEAVING = Observed(others=(Seen("old", Container.REMOVING),))
SILENT = Observed(is_silent=True)
BEGUN = View(S.RUNNING, container_id=MINE)

TABLE: list[tuple[str, View, Observed, d.Step]] = [
    ("a new one gets its container", View(S.QUEUED), NOTHING, d.Create()),
    ("a made one is started", View(S.QUEUED, container_id=MINE), ALONE[Container.CREATED], d.Start(MINE)),
    ("one made before a crash of ours is started", View(S.QUEUED), ALONE[Container.CREATED], d.Start(MINE)),
    ("a started one runs", View(S.QUEUED, container_id=MINE), ALONE[Container.RUNNING], d.Run(MINE)),
    ("a running one is left alone", BEGUN, ALONE[Container.RUNNING], Wait()),
    ("one that somebody paused says so", BEGUN, ALONE[Container.PAUSED], d.SayPaused(MINE)),
    ("once", View(S.RUNNING, container_id=MINE, says_paused=True), ALONE[Container.PAUSED], Wait()),
    ("unpaused, it says that no more", View(S.RUNNING, container_id=MINE, says_paused=True), ALONE[Container.RUNNING],
     d.Run(MINE)),
    ("one started before a crash of ours is taken over", View(S.RUNNING), ALONE[Container.RUNNING], d.Run(MINE)),
    ("an ended one is read", BEGUN, ALONE[Container.EXITED], d.ReadEnd(MINE)),
    ("one that ended before it was seen to run is read", View(S.QUEUED), ALONE[Container.EXITED], d.ReadEnd(MINE)),
    ("one that Docker removes is waited for", BEGUN, ALONE[Container.REMOVING], Wait()),
    ("an earlier attempt goes first", BEGUN, OLD, d.Remove(("old",))),
    ("an earlier attempt that Docker removes already is waited for", View(S.QUEUED), LEAVING, Wait()),
    ("absent once", BEGUN, NOTHING, d.MarkMissing()),
    ("absent for a moment", View(S.RUNNING, container_id=MINE, missing_since=ago(1)), NOTHING, Wait(3)),
    ("absent for certain", View(S.RUNNING, container_id=MINE, missing_since=ago(4)), NOTHING, d.Again()),
    ("there again: an absence of before counts no more", View(S.RUNNING, container_id=MINE, missing_since=ago(2)),
     ALONE[Container.RUNNING], d.Run(MINE)),
    ("nobody can be asked", BEGUN, SILENT, Wait()),
    ("a cancelled one goes with its container", View(S.RUNNING, True, MINE), ALONE[Container.RUNNING], d.Cancel(MINE)),
    ("a cancelled one that never began", View(S.QUEUED, True), NOTHING, d.Cancel("")),
    ("a cancelled one on a silent host waits", View(S.RUNNING, True, MINE), SILENT, Wait()),
    ("a good end is an end", View(S.SUCCEEDED), NOTHING, Wait(None)),
    ("a bad end is an end", View(S.FAILED, ended_at=ago(9)), NOTHING, Wait(None)),
    ("finished steps wait for another try", View(S.FAILED, ended_at=ago(100), keeps_work=True), NOTHING,
     Wait(d.KEPT_S - 100)),
    ("finished steps go after a day", View(S.FAILED, ended_at=ago(d.KEPT_S), keeps_work=True), NOTHING,
     d.LetGo(is_last_try=True)),
    ("what could not be taken away is tried again", View(S.CANCELLED, ended_at=ago(60), has_leftovers=True), NOTHING,
     d.LetGo(is_last_try=False)),
]  # fmt: skip


@pytest.mark.parametrize(("view", "observed", "step"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_next_step(view: View, observed: Observed, step: d.Step) -> None:
    assert decide(view, observed, NOW) == step


def test_an_ended_job_is_never_begun_again_without_a_person() -> None:
    for state, seen, wanted in product(ENDED, [NOTHING, SILENT, OLD, *ALONE.values()], (False, True)):
        assert isinstance(decide(View(state, wanted, MINE), seen, NOW), Wait)


def test_nothing_is_made_or_ended_on_a_host_that_is_silent() -> None:
    for state, wanted, known, missing in product(S, (False, True), ("", MINE), (None, ago(1), ago(99))):
        assert isinstance(decide(View(state, wanted, known, missing), SILENT, NOW), Wait)
