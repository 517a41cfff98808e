"""Kill one part behind a job, as by `kill -9`, and look at what is left behind."""

import contextlib
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import docker

from tests.workers.acting import reload

LIMIT_S = 600


class Scene:
    """A job's surroundings: the processes, the engine, its models volume as the machine's own folder."""

    def __init__(self, stack: Any, engine: Any, host: Any) -> None:
        self.stack, self.engine, self.host = stack, engine, host
        with contextlib.closing(engine.client()) as client:
            self.models = Path(client.inspect_volume("modelyard-models")["Mountpoint"])
        self.before = self._entries()

    def kill(self, what: str, job: Any) -> None:
        """End `what` at once; what is no container is started again."""
        if what == "container":
            self._kill_container(job)
        elif what == "daemon":
            self.engine.kill()
            self.engine.start()
        else:
            self.stack.kill(what)
            self.stack.start(what)

    def _kill_container(self, job: Any) -> None:
        """Wait for the job's next container, so that there is one to kill."""
        deadline = time.monotonic() + LIMIT_S
        while reload(job).state in ("queued", "running"):
            pid = self._pid(job)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                return
            assert time.monotonic() < deadline, "it has no container"
            time.sleep(0.01)

    def _pid(self, job: Any) -> int:
        with contextlib.closing(self.engine.client()) as client, contextlib.suppress(docker.errors.NotFound):
            return int(client.inspect_container(job.container_name)["State"]["Pid"])
        return 0

    def until_ended(self, job: Any) -> float:
        """Seconds until the real processes have ended the job."""
        began = time.monotonic()
        while reload(job).state in ("queued", "running"):
            assert time.monotonic() - began < LIMIT_S, (job.state, job.container_name, job.step, job.lease_until)
            time.sleep(0.1)
        return time.monotonic() - began

    def half_published(self) -> list[str]:
        """Made artifacts that people can see and whose files are not all there."""
        from webapp.catalog.models import Artifact

        return [
            f"{artifact}: {file['name']}"
            for artifact in Artifact.objects.exclude(parent=None)
            for file in artifact.files
            if not self._is_whole(self.models / str(artifact.pk) / file["name"], file["size_bytes"])
        ]

    def _is_whole(self, path: Path, size: int) -> bool:
        return path.is_file() and path.stat().st_size == size

    def left_behind(self) -> list[str]:
        """Whatever ended jobs ought to have taken away; containers that ended with a killed worker are for the
        sweep of orphans and are not looked at."""
        from webapp.catalog.models import Artifact
        from webapp.jobs.models import Job

        known = {str(artifact.pk) for artifact in Artifact.objects.all()} | {".work"}
        known |= {f".work/job-{job.pk}" for job in Job.objects.all() if job.result.get("work_kept")}
        found = [name for name in self._entries() - self.before if name not in known]
        reserved = reload(self.host).reserved_bytes
        return [*found, *([f"{reserved} bytes reserved"] if reserved else []), *self._volumes()]

    def _entries(self) -> set[str]:
        """What lies in the models volume, and in the folder of jobs."""
        work = self.models / ".work"
        inside = {f".work/{path.name}" for path in work.iterdir()} if work.is_dir() else set()
        return {path.name for path in self.models.iterdir()} | inside

    def _volumes(self) -> list[str]:
        with contextlib.closing(self.engine.client()) as client:
            there = client.volumes()["Volumes"] or []
        return [volume["Name"] for volume in there if volume["Name"] != "modelyard-models"]

    def containers(self) -> list[str]:
        with contextlib.closing(self.engine.client()) as client:
            there = client.containers(all=True, filters={"label": "modelyard.installation"})
        return [item["Names"][0] for item in there if item["Labels"].get("modelyard.kind") != "sampler"]

    def take_away(self, job: Any) -> str:
        """Make room for the next; answers the checksum of the file that the job made, as it lies there."""
        from webapp.catalog.models import Artifact

        artifact = Artifact.objects.get(made_by=job)
        folder = self.models / str(artifact.pk)
        with (folder / artifact.main_file).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shutil.rmtree(folder)
        artifact.delete()
        return digest
