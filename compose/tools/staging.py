"""A quantising job's own folder in the models volume: made first, turned into a model's folder at the end, or removed.

Reads a job from MODELYARD_JOB and prints one JSON object a line, like fetch.py.

    prepare   {"step": "prepare", "work": ".work/job-7", "source": "/models/3", "files": [{"name", "size_bytes"}],
               "needed_bytes": n, "lets_code": bool}; on its input one line {"texts": {"calibration.txt": "..."}}
    publish   {"step": "publish", "work": ".work/job-7", "artifact": 12, "source": "/models/3", "lets_code": bool}
    remove    {"step": "remove", "work": ".work/job-7", "artifact": 12 | null}
    result    {"step": "done", "result": {..., "seconds": s}}; publish: files {name, size, sha256}, format, facts
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compose.tools import content
from compose.tools.failures import DISK_ADVICE, FetchError, disk_errors
from compose.tools.fetch import safe_name
from compose.tools.meter import Meter
from compose.tools.modes import open_to_all
from webapp.catalog import companions, configs, gguf, safetensors
from webapp.planner.facts import ModelFacts

MODELS = Path("/models")
WORK = re.compile(r"\.work/job-\d+")
MARK = "published"
PART_BYTES = 1024 * 1024
TEMPORARY = 75


def prepare(job: Mapping[str, Any], texts: Mapping[str, str], models: Path = MODELS) -> dict[str, Any]:
    """Check source and disk; make the folder with the texts in it."""
    source, work = Path(job["source"]), _work(job, models)
    for file in job["files"]:
        path = source / safe_name(file["name"])
        if not path.is_file() or path.stat().st_size != file["size_bytes"]:
            raise FetchError("bad_source", f"{path.name} is not as it was fetched.", "Fetch the model again.")
        content.check(path, file["name"], lets_code=job.get("lets_code") is True, code="bad_source")
    with disk_errors(models):
        work.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (work / Path(name).name).write_text(text, encoding="utf-8")
        open_to_all(work.parent, work, *work.iterdir())
    free = shutil.disk_usage(work).free
    if free < job["needed_bytes"]:
        raise FetchError("disk_full", f"{free:,} bytes are free; this needs {job['needed_bytes']:,}.", DISK_ADVICE)
    return {"free_bytes": free}


def publish(job: Mapping[str, Any], models: Path = MODELS) -> dict[str, Any]:
    """Name every file by its content, then give the whole folder its place with one rename."""
    work, target = _work(job, models), _target(job, models)
    made = work / "out"
    # A rename that happened before we died is seen by its result.
    there = made if made.is_dir() else target
    if there is made and job.get("source"):
        with disk_errors(target):
            _bring_modules(Path(job["source"]), made)
    paths = sorted(path for path in there.rglob("*") if path.is_file()) if there.is_dir() else []
    if not paths:
        raise FetchError("bad_job", "There is nothing to publish.", "Run the job again.")
    meter = Meter(sum(path.stat().st_size for path in paths), _say)
    files = []
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(PART_BYTES):
                digest.update(part)
                meter.add(len(part), "publish", path.name)
        files.append({"name": str(path.relative_to(there)), "size": path.stat().st_size, "sha256": digest.hexdigest()})
    found = _described(there, [path for path in paths if path.parent == there])
    for path in paths:
        content.check(path, str(path.relative_to(there)), lets_code=job.get("lets_code") is True, code="bad_job")
    with disk_errors(target):
        if there is made:
            if target.exists():
                raise FetchError(
                    "bad_job", f"{target} holds other files already.", "Try again: it takes another place."
                )
            (work / MARK).touch()
            open_to_all(made, *made.rglob("*"))
            made.rename(target)
            _sync(target.parent)
        shutil.rmtree(work, ignore_errors=True)
    return {"files": files, **found}


def _bring_modules(source: Path, made: Path) -> None:
    """What is behind an embedding model (pooling, layers) goes with its new weights, or they would answer otherwise."""
    if not (source / companions.MODULES).is_file() or not (made / "config.json").is_file():
        return
    modules = companions.read_modules((source / companions.MODULES).read_bytes())
    names = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
    for name in companions.of_result(names, modules):
        target = made / safe_name(name)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)


def remove(job: Mapping[str, Any], models: Path = MODELS) -> dict[str, Any]:
    """Take the job's folder away, and the result that no row came to know."""
    work = _work(job, models)
    # A folder of that number that we did not put there is somebody else's.
    is_ours = bool(job.get("artifact")) and (not work.exists() or (work / MARK).exists())
    with disk_errors(models):
        for folder in (_target(job, models) if is_ours else None, work):
            if folder is not None and folder.is_dir():
                shutil.rmtree(folder)
    return {}


def _described(folder: Path, paths: list[Path]) -> dict[str, Any]:
    """Format, main file and the planner's facts by the headers, as for files that were fetched."""
    main = next((path for path in paths if path.suffix == ".gguf"), None)
    try:
        if main is not None:
            with main.open("rb") as file:
                facts = gguf.facts(gguf.read_header(file, main.stat().st_size), main.stat().st_size)
            return {"format": "gguf", "main_file": main.name, "facts": facts.as_json()}
        headers = []
        for path in paths:
            if path.suffix == ".safetensors":
                with path.open("rb") as file:
                    headers.append(safetensors.read_header(file, path.stat().st_size))
        config = configs.read_config((folder / "config.json").read_bytes())
        facts = configs.facts(config, headers)
    except (gguf.HeaderError, safetensors.HeaderError, configs.ConfigError) as error:
        raise FetchError("bad_job", f"The result is no sound model: {error}", "Report this.") from error
    return {"format": "safetensors", "main_file": "config.json", "facts": _whole(facts).as_json()}


def _whole(facts: ModelFacts) -> ModelFacts:
    """Packed weights do not tell how many parameters there are; the parent does."""
    return replace(facts, parameters=0)


def _work(job: Mapping[str, Any], models: Path) -> Path:
    name = str(job.get("work") or "")
    if not WORK.fullmatch(name):
        raise FetchError("bad_job", f"{name!r} is no job's folder.", "Report this.")
    return models / name


def _target(job: Mapping[str, Any], models: Path) -> Path:
    return models / str(int(job["artifact"]))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def main() -> int:
    began = time.monotonic()
    try:
        job = json.loads(os.environ.get("MODELYARD_JOB", "{}"))
        if job.get("step") == "prepare":
            line = sys.stdin.readline()
            if not line.endswith("\n"):  # whoever started us died before it could say them
                return TEMPORARY
            result = prepare(job, json.loads(line)["texts"])
        else:
            result = {"publish": publish, "remove": remove}[job["step"]](job)
    except FetchError as error:
        _say({"error": {"code": error.code, "message": str(error), "advice": error.advice}})
        # On a full disk the line itself may find no room.
        return errno.ENOSPC if error.code == "disk_full" else 1
    _say({"step": "done", "result": {**result, "seconds": round(time.monotonic() - began, 3)}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
