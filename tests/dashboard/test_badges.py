"""Every state that a page shows has a look of its own choosing, not the one for unknown words."""

from enum import StrEnum

import pytest

from webapp.catalog.models import CopyState
from webapp.deployments.searching import WORDS
from webapp.deployments.states import ReplicaState, RolloutState
from webapp.interfaces.kit.badges import LOOKS
from webapp.inventory.states import HostState
from webapp.jobs.states import JobState
from webapp.schedules import states as schedules


@pytest.mark.parametrize(
    "words",
    [
        ReplicaState, RolloutState, WORDS, JobState, HostState, CopyState,
        *(kind for kind in vars(schedules).values() if isinstance(kind, type) and issubclass(kind, StrEnum)),
    ],
)  # fmt: skip
def test_every_state_has_a_badge(words):
    assert [str(word) for word in words if str(word) not in LOOKS] == []
