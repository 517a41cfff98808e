"""Why an engine died, how long it is left alone, and what is done about a container that is simply gone."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from tests.workers.acting import containers, has_ended, prove, reload, wait_for

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]
Way = Callable[..., str]


def die(replica: Any, work: Any, engine: Any) -> Any:
    """Let it come to its end and have it looked at."""
    work()
    wait_for(lambda: has_ended(engine, replica.container_name))
    work.send("deployments.reconcile", replica.pk)
    work()
    return reload(replica)


DEATHS = [
    ("exited", True, {"exit_after_ms": 100, "exit_code": 1}, "exited with code 1"),
    ("out_of_memory", False, {"eat_mb": 2000, "eat_after_ms": 100}, "OOM-killed"),
    (
        "gpu_out_of_memory", True,
        {"exit_after_ms": 100, "last_words": "allocating 900.00 MiB on device 0: cudaMalloc failed: out of memory"},
        "Out of GPU memory",
    ),
    (
        "model_refused", False,
        {"exit_after_ms": 100, "last_words": "gguf_init_from_file: invalid magic characters: 'PK'"},
        "not a GGUF",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "again", "ways", "text"), DEATHS, ids=[death[0] for death in DEATHS])
def test_the_reason_of_death_is_told(
    serve: Serve, work: Any, engine: Any, way: Way, code: str, again: bool, ways: dict[str, object], text: str
) -> None:
    replica = die(serve(image=way(code, **ways)), work, engine)
    assert (replica.state, replica.reason_code) == ("failed", code), replica.reason
    assert text in replica.reason
    assert (replica.next_due_at is not None) == again


def test_somebody_elses_kill_is_told_apart(serve: Serve, work: Any, engine: Any) -> None:
    replica = serve()
    work()
    prove(replica)
    with contextlib.closing(engine.client()) as client:
        client.kill(replica.container_name)
    replica = die(replica, work, engine)
    assert replica.reason_code == "killed"
    assert "docker kill or similar: SIGKILL, exit code 137" in replica.reason


def test_a_stop_from_outside_is_told_apart_from_an_end_by_itself(serve: Serve, work: Any, engine: Any) -> None:
    replica = serve()
    work()
    prove(replica)
    with contextlib.closing(engine.client()) as client:
        client.stop(replica.container_name, timeout=5)
    replica = die(replica, work, engine)
    assert replica.reason_code == "killed" and "docker stop or similar: SIGTERM" in replica.reason, replica.reason


def test_a_paused_container_is_paused_until_it_is_unpaused_and_can_be_stopped(
    serve: Serve, work: Any, engine: Any, ada: Any
) -> None:
    from webapp.deployments import services

    replica = serve()
    work()
    prove(replica)
    with contextlib.closing(engine.client()) as client:
        client.pause(replica.container_name)
        work.send("deployments.reconcile", replica.pk)
        work()
        assert (reload(replica).state, replica.reason_code) == ("paused", "paused")
        assert f"docker unpause {replica.container_name}" in replica.advice
        work.pass_time(replica, 3600)
        assert (reload(replica).state, replica.attempt) == ("paused", 1), (
            "somebody may look at it for as long as needed"
        )
        client.unpause(replica.container_name)
        work.send("deployments.reconcile", replica.pk)
        work()
        assert reload(replica).state == "loading"
        prove(replica)
        client.pause(replica.container_name)
        work.send("deployments.reconcile", replica.pk)
        work()
    services.stop(ada, replica.deployment)
    work()
    wait_for(lambda: has_ended(engine, reload(replica).container_name))
    work.pass_time(replica, 1)
    assert reload(replica).state == "stopped"


def test_our_own_stop_is_no_death(serve: Serve, work: Any, engine: Any, ada: Any) -> None:
    from webapp.deployments import services

    replica = serve()
    work()
    services.stop(ada, replica.deployment)
    work()
    wait_for(lambda: has_ended(engine, reload(replica).container_name))
    work.pass_time(replica, 1)
    assert (reload(replica).state, replica.reason_code, replica.crash_count) == ("stopped", "stopped", 0)


def test_an_engine_that_stopped_answering_is_ended_and_started_anew(serve: Serve, work: Any, engine: Any) -> None:
    from workers.watcher import rows

    replica = serve()
    work()
    prove(replica)
    target = rows.target(replica.pk)
    assert target is not None and rows.mark_unwell(target, "3 consecutive health checks failed.")
    assert reload(replica).state == "loading"
    work.pass_time(replica, 60)
    assert reload(replica).state == "loading", "it gets a chance"
    work.pass_time(replica, 61)
    assert (reload(replica).state, replica.reason_code) == ("failed", "unhealthy")
    work.pass_time(replica, 11)
    assert reload(replica).state == "loading" and replica.attempt == 2
    assert len(containers(engine)) == 1


def test_a_crash_loop_is_left_alone_for_longer_and_longer(serve: Serve, work: Any, engine: Any, way: Way) -> None:
    replica = serve(image=way("crashing", exit_after_ms=50))
    waits = []
    for crash in range(1, 9):
        replica = die(reload(replica), work, engine)
        assert replica.state == "failed" and replica.crash_count == crash
        assert replica.next_due_at is not None
        waits.append(round((replica.next_due_at - replica.state_at).total_seconds()))
        # Whoever calls earlier, even after all workers were restarted: the date in the row holds.
        work.pass_time(replica, (replica.next_due_at - timezone.now()).total_seconds() - 8)
        work.send("deployments.reconcile", replica.pk)
        work()
        assert reload(replica).state == "failed" and replica.attempt == crash
        work.pass_time(replica, 9)
        assert reload(replica).attempt == crash + 1
        assert len(containers(engine)) <= 1
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_person_who_presses_start_does_not_wait(serve: Serve, work: Any, engine: Any, ada: Any) -> None:
    from webapp.deployments import services

    replica = serve()
    work()
    with contextlib.closing(engine.client()) as client:
        client.kill(reload(replica).container_name, "USR1")  # it ends of that
    replica = die(replica, work, engine)
    assert replica.crash_count == 1
    services.start(ada, replica.deployment)
    work()
    assert reload(replica).attempt == 2 and replica.crash_count == 0


def test_a_container_removed_behind_our_back_is_believed_gone_after_two_sightings(
    serve: Serve, work: Any, engine: Any
) -> None:
    replica = serve()
    work()
    prove(replica)
    engine.remove_containers()
    work.send("deployments.reconcile", replica.pk)
    work()
    assert (reload(replica).state, replica.reason_code) == ("lost", "container_missing")
    work.pass_time(replica, 1)
    assert reload(replica).state == "lost"
    work.pass_time(replica, 4)
    assert (reload(replica).state, replica.reason_code) == ("failed", "container_missing")
    work.pass_time(replica, 11)
    assert reload(replica).state == "loading" and replica.attempt == 2
    prove(replica)
