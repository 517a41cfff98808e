"""Where things of this installation lie on disk, decided by MODELYARD_STATE_DIR alone."""

import os
from pathlib import Path

# llama.cpp takes a name for a socket's by its ending.
ENGINE_SOCKET = "e.sock"
REPOSITORY = Path(__file__).resolve().parents[2]


def state_dir() -> Path:
    """The folder that holds everything an installation must keep."""
    return Path(os.environ.get("MODELYARD_STATE_DIR") or REPOSITORY / "var").resolve()


def run_dir() -> Path:
    """Sockets and pid files; only the owner may enter, because the sockets inside are open to whoever reaches them."""
    return state_dir() / "run"


def web_socket() -> Path:
    return run_dir() / "web.sock"


def broker_socket() -> Path:
    return run_dir() / "valkey.sock"


def engine_sockets() -> Path:
    """A folder per running engine, each with the socket that it answers on. Only the owner of the installation may
    enter, which is what keeps everybody else on the machine from the engines."""
    return run_dir() / "e"


def engine_socket(replica_id: int, generation: int, attempt: int) -> Path:
    """Where that attempt of that replica answers, when it has no network."""
    return engine_sockets() / f"{replica_id}.{generation}.{attempt}" / ENGINE_SOCKET


def gateway_dir() -> Path:
    """The gateway's encrypted snapshot and its usage segments."""
    return state_dir() / "gateway"


def log_dir() -> Path:
    return state_dir() / "log"


def secrets_dir() -> Path:
    return state_dir() / "secrets"


def cache_dir() -> Path:
    """Downloads and built images that can be made again; MODELYARD_CACHE_DIR shares them between installations."""
    return Path(os.environ.get("MODELYARD_CACHE_DIR") or state_dir() / "cache").resolve()


def import_roots() -> list[Path]:
    """Folders that model files may be imported from (MODELYARD_IMPORT_ROOTS, separated like PATH)."""
    named = os.environ.get("MODELYARD_IMPORT_ROOTS", "")
    roots = [Path(part).resolve() for part in named.split(os.pathsep) if part]
    return [*roots, state_dir() / "import", cache_dir() / "starter"]
