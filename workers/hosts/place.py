"""Is a host's Docker engine on the very machine that we run on?"""

import os
from collections.abc import Mapping
from typing import Any

from webapp.inventory.models import Host
from workers.hosts import connection


def is_this_machine(host: Host, info: Mapping[str, Any] | None = None) -> bool:
    """A local socket, and the engine tells of the same kernel and the same memory as we see: a socket may be forwarded
    from elsewhere. `info`: what the engine has just said of itself, where the row does not know it yet."""
    ours = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts, memory = (host.facts, host.memory_bytes) if info is None else (info, int(info.get("MemTotal") or 0))
    return connection.of(host).is_local_socket and facts.get("KernelVersion") == os.uname().release and memory == ours
