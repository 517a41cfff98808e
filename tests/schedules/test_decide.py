"""What comes next for a run and for a notification: tables of cases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from webapp.control.steps import Wait
from webapp.schedules import decide as d
from webapp.schedules import retries as r
from webapp.schedules.decide import Observed, View, decide
from webapp.schedules.states import ENDED, MOVES, NotificationState, RunState

S = RunState
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GOOD: dict[str, Any] = {"label": "Q4_K_M", "artifact": 7, "refused": "", "is_passed": True, "checks": []}
LOST = {**GOOD, "is_passed": False, "checks": [{"is_passed": False, "words": "KL divergence is 0.5"}]}
BROKEN = {"label": "Q8_0", "refused": "The disk is full.", "is_passed": False}
QUEUED = {"label": "Q4_K_M", "job": 1, "refused": ""}


def made(*results: dict[str, Any], **columns: Any) -> View:
    return View(S.RUNNING, has_queued=True, results=results, **columns)


TABLE: list[tuple[str, View, Observed, d.Step]] = [
    ("a new one looks for its source", View(S.WAITING), Observed(), d.FindSource()),
    ("a shut window is waited for", View(S.WAITING), Observed(opens_at=NOW + timedelta(hours=1)),
     d.Say("The maintenance window opens at 2026-11-22 13:00 UTC.", 3600)),
    ("a busy host is waited for", View(S.WAITING), Observed(busy="fetch job 3 runs"),
     d.Say("Waits: fetch job 3 runs.", d.WAIT_S)),
    ("one that a person asked for does not wait", View(S.WAITING, is_asked_for=True), Observed(busy="x"),
     d.FindSource()),
    ("a source that is gone", View(S.RUNNING), Observed(has_source=False),
     d.End(S.FAILED, d.SOURCE_GONE, d.CHOOSE_SOURCE)),
    ("a source that lies elsewhere is fetched", View(S.RUNNING), Observed(is_source_there=False), d.Fetch()),
    ("a fetch is waited for", View(S.RUNNING), Observed(is_source_there=False, is_fetching=True), Wait(d.AGAIN_S)),
    ("a fetch that failed", View(S.RUNNING), Observed(is_source_there=False, fetch_failed=("no route", "Try later.")),
     d.End(S.FAILED, "The source could not be downloaded: no route.", "Try later.")),
    ("with its source it queues its jobs", View(S.RUNNING), Observed(), d.QueueJobs()),
    ("jobs are waited for", made(QUEUED), Observed(has_running_jobs=True), Wait(d.AGAIN_S)),
    ("what they made is judged", made(QUEUED), Observed(), d.Judge()),
    ("a good result that nobody serves is the end", made(GOOD), Observed(), d.End(S.SUCCEEDED, "Built Q4_K_M.")),
    ("a good result is served", made(GOOD, serves=True), Observed(), d.Serve()),
    ("a rollout is waited for", made(GOOD, serves=True, has_asked=True), Observed(rollout=""), Wait(d.AGAIN_S)),
    ("a rollout that went back", made(GOOD, serves=True, has_asked=True), Observed(rollout="It crashed."),
     d.End(S.FAILED, "It crashed.", "The deployment still serves the previous version.")),
    ("a rollout that is through", made(GOOD, serves=True, has_asked=True, served="chat serves it"), Observed(),
     d.End(S.SUCCEEDED, "chat serves it.")),
    ("a result that is not good enough", made(LOST, serves=True), Observed(),
     d.End(S.REJECTED, "Nothing was deployed. Q4_K_M: KL divergence is 0.5.",
           "Relax the gate or change the recipe.")),
    ("nothing was made", made(BROKEN), Observed(),
     d.End(S.FAILED, "Nothing was built. Q8_0: The disk is full.", "Check the jobs.")),
    ("one of two is enough", made(GOOD, BROKEN), Observed(),
     d.End(S.SUCCEEDED, "Built Q4_K_M. Not: Q8_0: The disk is full..")),
    ("a cancelled one stops its jobs", made(QUEUED, is_cancel_wanted=True), Observed(has_running_jobs=True),
     d.CancelJobs()),
    ("a cancelled one without jobs ends", View(S.WAITING, is_cancel_wanted=True), Observed(),
     d.End(S.CANCELLED, "Cancelled by a user.")),
]  # fmt: skip


@pytest.mark.parametrize(("view", "observed", "step"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_next_step_of_a_run(view: View, observed: Observed, step: d.Step) -> None:
    assert decide(view, observed, NOW) == step


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_run_that_has_ended_stays_as_it_ended(state: RunState) -> None:
    assert decide(View(state, is_cancel_wanted=True), Observed(has_running_jobs=True), NOW) == Wait(None)


def test_every_end_that_is_decided_is_a_move_of_the_table() -> None:
    for _name, view, _observed, step in TABLE:
        assert not isinstance(step, d.End) or step.state in MOVES[view.state]


N = NotificationState
RETRIES: list[tuple[str, r.View, r.Step]] = [
    ("a new one is sent", r.View(N.PENDING, 0, NOW), r.Send()),
    ("a call before its time sends nothing", r.View(N.PENDING, 1, NOW + timedelta(seconds=30)), Wait(30)),
    ("the fifth try", r.View(N.PENDING, 4, NOW), r.Send()),
    ("a fifth try that ended with its worker", r.View(N.PENDING, 5, NOW), r.GiveUp()),
    ("sent is sent", r.View(N.SENT, 1), Wait(None)),
    ("given up is given up", r.View(N.FAILED, 5), Wait(None)),
]


@pytest.mark.parametrize(("view", "step"), [row[1:] for row in RETRIES], ids=[row[0] for row in RETRIES])
def test_the_next_step_of_a_notification(view: r.View, step: r.Step) -> None:
    assert r.decide(view, NOW) == step


def test_waits_between_tries_grow_and_end() -> None:
    assert [r.wait_s(attempt) for attempt in range(1, 6)] == [30, 120, 600, 3600, None]
