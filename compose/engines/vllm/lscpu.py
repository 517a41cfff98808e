#!/usr/bin/python3
"""Stands where a shell would stand: this image has none, and vLLM asks `lscpu` for the processors through one.

Answers that one question from /sys (Linux, Documentation/admin-guide/cputopology.rst) and refuses every other.
"""

import json
import os
import sys
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")


def node(cpu: int) -> int:
    """The memory node that a processor belongs to; 0 where there is only one."""
    found = next((CPUS / f"cpu{cpu}").glob("node[0-9]*"), None)
    return int(found.name.removeprefix("node")) if found else 0


def core(cpu: int) -> int:
    path = CPUS / f"cpu{cpu}" / "topology" / "core_id"
    return int(path.read_text()) if path.exists() else cpu


if __name__ == "__main__":
    if not " ".join(sys.argv[1:]).startswith("-c lscpu --json"):
        sys.exit("there is no shell in this image")
    online = sorted(os.sched_getaffinity(0))
    print(json.dumps({"cpus": [{"cpu": cpu, "core": core(cpu), "node": node(cpu)} for cpu in online]}))
