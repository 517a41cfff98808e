"""Everything that the six worlds are made of."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.parts.memory_runtime import MemoryRuntime
from tests.schedules.conftest import FACTS
from tests.schedules.conftest import end_job as end_job
from tests.schedules.conftest import make_schedule as make_schedule
from tests.schedules.conftest import receiver as receiver
from tests.schedules.conftest import source as source
from tests.schedules.conftest import spec as spec


@pytest.fixture
def cast(
    ada: Any, team: Any, host: Any, source: Any, make_schedule: Any, end_job: Any, receiver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:  # fmt: skip
    """People, a host whose engine is in memory, an artifact, a schedule, a receiver of messages."""
    from workers.hosts.connection import HostConnection

    runtime = MemoryRuntime()
    monkeypatch.setattr(HostConnection, "runtime", lambda way, within_s=0: runtime)
    assert source.facts == FACTS
    host.daemon_id = "daemon-1@/memory"
    host.save(update_fields=["daemon_id"])
    return SimpleNamespace(
        ada=ada, team=team, host=host, artifact=source, make_schedule=make_schedule, end_job=end_job,
        receiver=receiver, runtime=runtime,
    )  # fmt: skip
