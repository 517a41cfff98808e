"""One run of a schedule: wait, fetch, quantise, judge, serve. Which single step comes next? Pure.

The caller carries out one step, reads the rows again and asks anew, so every step may be repeated after a crash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webapp.control.steps import Wait
from webapp.schedules.states import ENDED, RunState

AGAIN_S = 5.0
WAIT_S = 60.0
SOURCE_GONE = "The artifact it was made from was deleted meanwhile."
CHOOSE_SOURCE = "Choose another source."

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """The run and its schedule, as far as they decide anything. `results`: see ScheduleRun."""

    state: RunState
    is_cancel_wanted: bool = False
    # Somebody asked for it by hand: its window and an idle host do not count.
    is_asked_for: bool = False
    has_queued: bool = False
    results: Sequence[Result] = ()
    # Its result is to be served; whether the deployment was asked already, and what is served then, in words.
    serves: bool = False
    has_asked: bool = False
    served: str = ""

    @property
    def is_judged(self) -> bool:
        return any("is_passed" in result for result in self.results)

    @property
    def passed(self) -> list[Result]:
        return [result for result in self.results if result["is_passed"]]


@dataclass(frozen=True, slots=True)
class Observed:
    """What the rows around it say; each is looked for only where it can matter."""

    # When the window opens, if it is shut; why the host is busy, if it is.
    opens_at: datetime | None = None
    busy: str = ""
    has_source: bool = True
    is_source_there: bool = True
    # The run's own fetch: None when there is none; else whether it goes on, and how it failed (reason, advice).
    is_fetching: bool = False
    fetch_failed: tuple[str, str] | None = None
    has_running_jobs: bool = False
    # Of the rollout: None when it is through, empty while it rolls, else why the result was given up.
    rollout: str | None = None


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """Its jobs stop first."""


@dataclass(frozen=True, slots=True)
class Say:
    """It waits for this; look again after so long."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FindSource:
    """waiting -> running, with the artifact that it is made from."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get the source to the host."""


@dataclass(frozen=True, slots=True)
class QueueJobs:
    """One job per recipe."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Read what the jobs made and hold it to the gate."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Ask the deployment to run the first result that passed."""


@dataclass(frozen=True, slots=True)
class End:
    """How the run ends."""

    state: RunState
    reason: str
    advice: str = ""


Step = CancelJobs | Say | FindSource | Fetch | QueueJobs | Judge | Serve | End | Wait


def decide(view: View, observed: Observed, now: datetime) -> Step:
    """The next step towards the run's end."""
    if view.state in ENDED:
        return Wait(None)
    if view.is_cancel_wanted:
        return CancelJobs() if observed.has_running_jobs else End(RunState.CANCELLED, "Cancelled by a user.")
    if view.state == RunState.WAITING:
        return (None if view.is_asked_for else _wait(observed, now)) or FindSource()
    return _get_source(observed) or _make(view, observed) or _serve(view, observed) or summary(view)


def _wait(observed: Observed, now: datetime) -> Step | None:
    if observed.opens_at is not None and observed.opens_at > now:
        left_s = (observed.opens_at - now).total_seconds()
        return Say(f"The maintenance window opens at {observed.opens_at:%Y-%m-%d %H:%M} UTC.", left_s)
    return Say(f"Waits: {observed.busy}.", WAIT_S) if observed.busy else None


def _get_source(observed: Observed) -> Step | None:
    if not observed.has_source:
        return End(RunState.FAILED, SOURCE_GONE, CHOOSE_SOURCE)
    if observed.is_source_there:
        return None
    if observed.fetch_failed is not None:
        reason, advice = observed.fetch_failed
        return End(RunState.FAILED, f"The source could not be downloaded: {reason}.", advice)
    return Wait(AGAIN_S) if observed.is_fetching else Fetch()


def _make(view: View, observed: Observed) -> Step | None:
    if not view.has_queued:
        return QueueJobs()
    if observed.has_running_jobs:
        return Wait(AGAIN_S)
    return None if view.is_judged else Judge()


def _serve(view: View, observed: Observed) -> Step | None:
    if not view.serves or not view.passed:
        return None
    if not view.has_asked:
        return Serve()
    if observed.rollout is None:
        return None
    if not observed.rollout:
        return Wait(AGAIN_S)
    return End(RunState.FAILED, observed.rollout, "The deployment still serves the previous version.")


def summary(view: View) -> End:
    """How a run ends whose jobs have ended and whose result, if any, is served."""
    made = [result for result in view.results if result.get("artifact")]
    if not made:
        why = "; ".join(f"{result['label']}: {result['refused']}" for result in view.results)
        return End(RunState.FAILED, f"Nothing was built. {why}", "Check the jobs.")
    lost = [
        f"{result['label']}: {check['words']}"
        for result in made for check in result["checks"] if not check["is_passed"]
    ]  # fmt: skip
    failed = [f"{result['label']}: {result['refused']}" for result in view.results if result["refused"]]
    if not view.passed:
        kept = "Nothing was deployed. " if view.serves else ""
        return End(RunState.REJECTED, f"{kept}{'; '.join([*lost, *failed])}.", "Relax the gate or change the recipe.")
    said = f"{view.served}." if view.served else f"Built {', '.join(result['label'] for result in made)}."
    return End(RunState.SUCCEEDED, " ".join([said, *(f"Not: {why}." for why in [*lost, *failed])]))
