"""Removes one model's folder. Reads a job from MODELYARD_JOB and prints one JSON object a line, like fetch.py.

job     {"target_dir": "/models/7"}
result  {"step": "done", "freed_bytes": n}
"""

import json
import os
import shutil
import sys
from pathlib import Path

from compose.tools.failures import FetchError, disk_errors


def run(job: dict[str, object], models: Path = Path("/models")) -> int:
    """Remove the folder; the bytes that became free. A folder that is gone already is no error."""
    folder = Path(str(job.get("target_dir") or ""))
    if folder.parent != models or not folder.name.isdecimal() or folder.is_symlink():
        raise FetchError("not_allowed", f"{folder} is not a model's folder.", "Report this: the job was made wrongly.")
    freed = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if folder.exists():
        with disk_errors(folder):
            shutil.rmtree(folder)
    return freed


def main() -> int:
    try:
        freed = run(json.loads(os.environ.get("MODELYARD_JOB", "{}")))
    except FetchError as error:
        print(json.dumps({"error": {"code": error.code, "message": str(error), "advice": error.advice}}), flush=True)
        return 1
    print(json.dumps({"step": "done", "freed_bytes": freed}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
