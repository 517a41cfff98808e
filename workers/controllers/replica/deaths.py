"""Why a replica does not serve: everything known about its container goes to the engine, which knows what it means."""

from dataclasses import dataclass, replace
from datetime import timedelta

from webapp import engines
from webapp.deployments.decide import Crash
from webapp.deployments.lifecycle import NOT_SERVING
from webapp.deployments.models import Replica
from webapp.engines.base import ExitFacts
from webapp.inventory.models import Host
from workers import shut_down
from workers.runtime.base import ContainerFacts, ContainerMissing, Runtime

LOG_LINES = 200
# Clocks of two machines, and the moment between an engine's end and our noticing.
CLOCK_SLACK = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Death:
    """What happened, what to do about it, and whether another try can help without a person."""

    code: str
    message: str
    advice: str
    retry: bool


# What `docker stop`, `docker kill` and `docker restart` send; a server may take others as a word to do something.
_ENDING = ("SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT")

GONE = Death(
    "container_missing", "Its container was removed, but not by Modelyard.", "It restarts automatically.", True
)


def explain(runtime: Runtime, replica: Replica, crash: Crash) -> Death:
    """The reason, out of exit code, memory flag, Docker's text, our own intent, the host's history and the log."""
    if not crash.container_id:
        return GONE
    try:
        container = runtime.inspect(crash.container_id)
    except ContainerMissing:
        return GONE
    facts = ExitFacts(
        exit_code=container.exit_code,
        oom_killed=container.oom_killed,
        error_text=container.error,
        stop_requested=replica.stop_requested_at is not None,
        daemon_restarted=not crash.kill and ended_with_its_engine(container, replica.host),
        log_tail=runtime.log_tail(crash.container_id, LOG_LINES),
        health_failed=crash.kill,
        shut_down=not crash.kill and crash.container_id in shut_down.containers(),
        was_ready=replica.ready_at is not None,
        signal_sent=next((name for name in reversed(runtime.signals_sent(crash.container_id)) if name in _ENDING), ""),
    )
    death = _asked(replica, facts)
    if crash.kill and replica.reason_code == NOT_SERVING:
        # It was given up while it loaded: its last words say more than that.
        return replace(death, message=f"{death.message} {replica.reason}")
    return death


def explain_refusal(replica: Replica, text: str) -> Death:
    """Docker would not make or start the container."""
    return _asked(replica, ExitFacts(exit_code=None, error_text=text))


def _asked(replica: Replica, facts: ExitFacts) -> Death:
    reason = engines.get(replica.contents.engine).explain_exit(facts)
    return Death(str(reason.code), reason.message, reason.advice, reason.retry)


def ended_with_its_engine(container: ContainerFacts, host: Host | None) -> bool:
    """Did it end while contact to the host was broken? Then the end is Docker's doing, not the engine's."""
    if host is None or container.finished_at is None or host.lost_at is None:
        return False
    if container.finished_at < host.lost_at - CLOCK_SLACK:
        return False
    # `back_at` before `lost_at` is from an earlier break: we have just heard of the end of this one.
    is_back = host.back_at is not None and host.back_at >= host.lost_at
    return not is_back or host.back_at is None or container.finished_at <= host.back_at + CLOCK_SLACK
