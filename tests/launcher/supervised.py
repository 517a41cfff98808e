"""A supervisor over small shell programs, as a program of its own: `python -m tests.launcher.supervised FOLDER JSON`.

JSON is a list of {"name", "shell", "after"?, "ready_file"?, "ready_line"?, "ready_limit_s"?, "stop_s"?}; one named
"beside" runs once, and its failure ends everything.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from workers.launcher import instance
from workers.launcher.logs import Logs
from workers.launcher.progress import LauncherError
from workers.launcher.supervisor import Probe, ProcessSpec, Supervisor


def file_exists(path: Path) -> Probe:
    async def probe() -> bool:
        return path.exists()

    return probe


async def main(folder: Path, rows: list[dict]) -> None:
    specs = [
        ProcessSpec(
            row["name"],
            ["sh", "-c", row["shell"]],
            after=tuple(row.get("after", [])),
            probe=file_exists(folder / row["ready_file"]) if "ready_file" in row else None,
            ready_line=row.get("ready_line"),
            ready_limit_s=row.get("ready_limit_s", 300),
            stop_s=row.get("stop_s", 120),
        )
        for row in rows
        if row["name"] != "beside"
    ]
    logs = Logs(folder / "log", [spec.name for spec in specs], echo=True)
    supervisor = Supervisor(specs, logs, cwd=str(folder))

    async def ready() -> None:
        # In one piece: somebody waits for it to be there.
        draft = folder / "all-ready.draft"
        draft.write_text(json.dumps(supervisor.states()))
        draft.replace(folder / "all-ready.json")

    async def beside() -> None:
        for row in rows:
            if row["name"] == "beside":
                code = await supervisor.run_once(["sh", "-c", row["shell"]], dict(os.environ), logs.plain)
                if code != 0:
                    raise LauncherError(f"beside failed with {code}")

    await supervisor.run(ready, beside)


if __name__ == "__main__":
    try:
        lock = instance.take_lock(Path(sys.argv[1]) / "run")
        asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
    except LauncherError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
