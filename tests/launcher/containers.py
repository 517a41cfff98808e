"""How containers of the tests are started and read."""

from typing import Any

from docker.models.containers import Container

HARDENED: dict[str, Any] = {
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": ""},
    "mem_limit": "1g",
    "pids_limit": 256,
}


def ended(container: Container) -> tuple[int, str]:
    code = container.wait(timeout=600)["StatusCode"]
    return code, container.logs().decode()
