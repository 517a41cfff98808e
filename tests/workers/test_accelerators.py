"""GPUs found through Docker: recorded tool output, a Docker engine that takes requests for GPUs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parts.dockerd import running_dockerd
from tests.parts.images import allow
from tests.workers.acting import containers, inspect, reload
from workers.controllers.host import accelerators

CAPTURES = Path(__file__).parent.parent / "inventory" / "captures"


def capture(name: str) -> str:
    return (CAPTURES / name).read_text()


CSV = "index, uuid, name, compute_cap\n0, GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77, NVIDIA A100, 8.0\n"


def test_a_gpu_cut_into_slices_is_offered_as_its_slices() -> None:
    found = accelerators.nvidia_facts(capture("nvidia_a100_mig.xml"), capture("nvidia_a100_list.txt"), CSV)
    slices = [facts for facts in found if facts.parent_uuid]
    assert slices and all(facts.uuid.startswith("MIG-") and facts.memory_bytes > 0 for facts in slices)
    parents = {facts.parent_uuid for facts in slices}
    assert parents.isdisjoint({facts.uuid for facts in found})


@pytest.mark.docker
def test_gpus_are_found_placed_and_passed_into_the_engine(
    transactional_db: None, ada: Any, team: Any, work: Any
) -> None:
    from tests.workers.conftest import make_artifact, register
    from webapp.deployments import services

    says = [capture("nvidia_a100_mig.xml"), capture("nvidia_a100_list.txt"), CSV]
    with running_dockerd(84, nvidia=True) as engine:
        engine.import_fake_engine()
        engine.import_fake_tools(json.dumps(says).encode())
        machine = register(engine)
        cards = list(machine.accelerators.all())
        assert cards and all(card.vendor == "nvidia" and card.memory_bytes > 0 for card in cards)
        assert containers(engine, "probe") == []
        allow("modelyard-test/engine")
        asked = services.DeploymentSpec(name="tiny", artifact=make_artifact(machine), image="modelyard-test/engine:1")
        replica = services.create(ada, team, asked).replicas.get()
        work()
        assert reload(replica).grant["vendor"] == "nvidia", replica.reason
        [request] = inspect(engine, replica.container_name)["HostConfig"]["DeviceRequests"]
        assert request["Driver"] == "nvidia" and request["DeviceIDs"] == replica.grant["device_ids"]
        reserved = [card for card in machine.accelerators.all() if card.reserved_bytes]
        assert [card.uuid for card in reserved] == replica.grant["device_ids"]


@pytest.mark.docker
def test_a_host_without_gpus_is_not_probed(machine: Any, engine: Any) -> None:
    assert list(machine.accelerators.all()) == []
    assert machine.facts["accelerators_at"] > 0
