"""The way of a replica over a real Docker engine: tasks called as workers call them, time passed by hand."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.acting import Line, containers, has_ended, inspect, prove, reload, wait_for
from workers.hosts import sockets

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]


def test_a_request_becomes_a_running_engine_and_nothing_stays_of_it_after_deletion(
    serve: Serve, work: Any, engine: Any, machine: Any, ada: Any
) -> None:
    from webapp.deployments import services
    from webapp.deployments.models import Deployment

    replica = serve()
    work()
    assert reload(replica).state == "loading", (replica.state, replica.reason)
    [container] = containers(engine)
    assert container["Names"] == [f"/{replica.container_name}"]
    prove(replica)
    assert reload(machine).reserved_bytes > 0
    services.delete(ada, replica.deployment)
    work()
    assert reload(replica).state == "draining"
    work.pass_time(replica, 2.3)
    wait_for(lambda: has_ended(engine, replica.container_name))
    if Deployment.objects.exists():
        work.pass_time(replica, 0.5)
    assert not Deployment.objects.exists()
    assert containers(engine) == []
    assert reload(machine).reserved_bytes == 0


def test_an_engines_container_may_do_next_to_nothing(serve: Serve, work: Any, engine: Any, machine: Any) -> None:
    replica = serve()
    work()
    container = inspect(engine, reload(replica).container_name)
    host, config = container["HostConfig"], container["Config"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"] and not host["Privileged"]
    assert host["ReadonlyRootfs"] and host["PidsLimit"] == 4096
    assert host["Memory"] == host["MemorySwap"] == replica.grant["memory_limit_bytes"] > 0
    assert host["RestartPolicy"]["Name"] == "no" and host["Init"] is True
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert not host["PortBindings"] and not host["PublishAllPorts"]
    mounts = {mount["Destination"]: mount["RW"] for mount in container["Mounts"]}
    assert mounts == {f"/models/{replica.deployment.artifact_id}": False, "/run/modelyard": True}
    assert config["User"] == f"{sockets.ENGINES_OF_ROOT}:65534", "nobody else on the machine is that user"
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert "HF_HUB_OFFLINE=1" in config["Env"]
    assert config["Labels"]["modelyard.installation"]
    assert host["NetworkMode"] == "none" and list(container["NetworkSettings"]["Networks"]) == ["none"]


def test_ten_copies_of_every_message_make_one_container(serve: Serve, work: Any, engine: Any) -> None:
    from django.db import connection

    from workers import controllers

    replica = serve()
    work.now.clear()

    def deliver() -> None:
        try:
            controllers.work("deployments.reconcile", replica.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=deliver) for _copy in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    for _copy in range(10):
        controllers.work("deployments.reconcile", replica.pk)
    assert len(containers(engine)) == 1
    assert reload(replica).state == "loading" and replica.attempt == 1
    moves = [
        (event.old_state, event.new_state) for event in replica.deployment.events.order_by("id") if event.new_state
    ]
    assert moves == [("pending", "placing"), ("placing", "starting"), ("starting", "loading")]


def test_an_engine_that_ignores_the_signal_is_killed_when_its_time_is_up(
    serve: Serve, work: Any, engine: Any, ada: Any, way: Callable[..., str]
) -> None:
    from webapp.deployments import services

    replica = serve(image=way("stubborn", ignore_term=1))
    work()
    prove(replica)
    services.stop(ada, replica.deployment)
    work()
    work.pass_time(replica, 2.3)
    work.pass_time(replica, 5)
    assert reload(replica).state == "stopping"
    assert not has_ended(engine, replica.container_name)
    work.pass_time(replica, 6)
    wait_for(lambda: has_ended(engine, replica.container_name))
    work.pass_time(replica, 1)
    assert reload(replica).state == "stopped" and containers(engine) == []


def test_running_requests_are_finished_before_the_engine_ends(
    serve: Serve, work: Any, engine: Any, ada: Any, way: Callable[..., str]
) -> None:
    from webapp.deployments import services

    replica = serve(image=way("slow-tokens", tokens=20, token_ms=250))
    work()
    prove(replica)
    connection = Line(replica)
    connection.request("POST", "/v1/chat/completions", '{"stream":true}')
    response = connection.getresponse()
    services.stop(ada, replica.deployment)
    work()
    work.pass_time(replica, 2.3)
    assert reload(replica).state == "draining", "a request is running"
    text = response.read().decode()
    connection.close()
    assert "t19 " in text and text.endswith("data: [DONE]\n\n")
    work.pass_time(replica, 1)
    assert reload(replica).state in ("stopping", "stopped")


def test_a_start_pressed_while_it_stops_brings_a_new_container(serve: Serve, work: Any, engine: Any, ada: Any) -> None:
    from webapp.deployments import services

    replica = serve()
    work()
    first = reload(replica).container_name
    services.stop(ada, replica.deployment)
    work()
    assert reload(replica).state == "stopping"
    assert work.later
    services.start(ada, replica.deployment)
    work()
    wait_for(lambda: has_ended(engine, first))
    work.pass_time(replica, 1)
    assert reload(replica).state == "loading" and replica.attempt == 2
    assert [item["Names"] for item in containers(engine)] == [[f"/{replica.container_name}"]]


def test_without_room_it_waits_and_says_why(serve: Serve, work: Any, machine: Any) -> None:
    from webapp.inventory.models import Host

    Host.objects.update(usable_bytes=64 * 1024**2)
    replica = serve()
    work()
    assert reload(replica).state == "pending" and replica.reason_code == "no_room"
    assert replica.reason.startswith("No suitable host. machine: It needs 0.3 GiB of memory")
    Host.objects.update(usable_bytes=8 * 1024**3)
    work.pass_time(replica, 16)
    assert reload(replica).state == "loading"


def test_a_foreign_container_of_our_name_is_left_alone(serve: Serve, work: Any, engine: Any) -> None:
    replica = serve()
    with contextlib.closing(engine.client()) as client:
        client.create_container("modelyard-test/engine:1", name=replica.container_name)
    work()
    assert reload(replica).state == "failed" and "not managed by Modelyard" in replica.reason
    assert inspect(engine, replica.container_name)["State"]["Status"] == "created"


def test_files_that_are_gone_from_the_volume_are_said(serve: Serve, work: Any, engine: Any, weights: Any) -> None:
    with contextlib.closing(engine.client()) as client:
        Path(client.inspect_volume("modelyard-models")["Mountpoint"], str(weights.pk)).rmdir()
    replica = serve()
    work()
    found = reload(replica)
    assert found.state == "failed" and "files are no longer on the host" in found.reason, (found.state, found.reason)
