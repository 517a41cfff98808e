"""The list of images is asked once more right before a launch."""

from typing import Any

import pytest

from tests.parts.images import allow
from tests.parts.memory_runtime import MemoryRuntime
from webapp.catalog.models import AllowedImage
from webapp.deployments import services
from webapp.deployments.spec import DeploymentSpec
from workers import controllers


@pytest.fixture
def runtime(cast: Any) -> MemoryRuntime:
    found: MemoryRuntime = cast.runtime
    found.daemon = cast.host.daemon_id.split("@")[0]
    return found


def made(cast: Any, image: str) -> Any:
    return services.create(
        cast.ada, cast.team, DeploymentSpec("chat", artifact=cast.artifact, image=image)
    ).replicas.get()


def test_an_image_that_was_taken_off_the_list_meanwhile_is_not_started(cast: Any, runtime: MemoryRuntime) -> None:
    allow("engine")
    replica = made(cast, "engine:1")
    AllowedImage.objects.all().delete()
    controllers.work("deployments.reconcile", replica.pk)
    replica.refresh_from_db()
    assert (replica.state, replica.reason_code, replica.next_due_at) == ("failed", "image_not_allowed", None)
    assert "docker.io/library/engine" in replica.reason and "Settings > Images" in replica.advice
    assert not runtime.containers
    allow("engine")
    services.start(cast.ada, replica.deployment)
    controllers.work("deployments.reconcile", replica.pk)
    replica.refresh_from_db()
    assert replica.state == "loading" and len(runtime.containers) == 1


def test_what_runs_outlives_its_images_place_on_the_list(cast: Any, runtime: MemoryRuntime) -> None:
    allow("engine")
    replica = made(cast, "engine:1")
    controllers.work("deployments.reconcile", replica.pk)
    AllowedImage.objects.all().delete()
    controllers.work("deployments.reconcile", replica.pk)
    replica.refresh_from_db()
    assert replica.state == "loading" and runtime.running("replica")


def test_an_image_that_is_built_here_is_never_fetched(
    cast: Any, runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry may have something of that name, and it is not ours."""
    monkeypatch.setattr(runtime, "find_image", lambda _reference: None)
    replica = made(cast, "modelyard/llamacpp:cpu")
    controllers.work("deployments.reconcile", replica.pk)
    replica.refresh_from_db()
    assert (replica.state, replica.reason_code) == ("failed", "image_missing")
    assert "make run" in replica.advice
