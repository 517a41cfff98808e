"""What the watcher knows of the replicas: read every few seconds, and at once when Docker reports something."""

from workers.watcher import rows
from workers.watcher.rows import Target

# Which run of which replica: (replica id, generation, attempt).
Run = tuple[int, int, int]


class ReplicaCache:
    """Replica id -> newest knowledge. Written by refreshes only."""

    def __init__(self) -> None:
        self._targets: dict[int, Target] = {}

    def get(self, run: Run) -> Target | None:
        """The run as it was last read; None when the replica has moved on to another run or is at rest."""
        target = self._targets.get(run[0])
        return target if target is not None and target.run == run and target.state in rows.WATCHED else None

    def on_host(self, host_id: int) -> list[Target]:
        return [target for target in self._targets.values() if target.host_id == host_id]

    async def refresh(self, replica_id: int) -> Target | None:
        """Read one replica now."""
        target = await rows.call(rows.target, replica_id)
        if target is None:
            self._targets.pop(replica_id, None)
        else:
            self._targets[replica_id] = target
        return target

    async def refresh_all(self) -> None:
        found = await rows.call(rows.targets)
        self._targets = {target.id: target for target in found}
