"""The tables of this app: what is served (serving.py), what is written down about it (history.py), kept options."""

from webapp.deployments.models.history import LogChunk, ReplicaEvent
from webapp.deployments.models.preset import OptionPreset, OptionPresetQuerySet
from webapp.deployments.models.serving import (
    ALIAS,
    MAX_ALIAS_CHARS,
    MAX_REPLICAS,
    NAME,
    Deployment,
    DeploymentAlias,
    DeploymentGrant,
    DeploymentQuerySet,
    Replica,
    ReplicaQuerySet,
    Revision,
    Rollout,
    has_ready_replica,
)

__all__ = [
    "ALIAS",
    "MAX_ALIAS_CHARS",
    "MAX_REPLICAS",
    "NAME",
    "Deployment",
    "DeploymentAlias",
    "DeploymentGrant",
    "DeploymentQuerySet",
    "LogChunk",
    "OptionPreset",
    "OptionPresetQuerySet",
    "Replica",
    "ReplicaEvent",
    "ReplicaQuerySet",
    "Revision",
    "Rollout",
    "has_ready_replica",
]
