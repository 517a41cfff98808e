"""Is a host's Docker engine on the very machine that we run on?"""

import os

from webapp.inventory.models import Host
from workers.hosts import connection


def is_this_machine(host: Host) -> bool:
    """A local socket, and the engine tells of the same kernel and the same memory as we see: a socket may be forwarded
    from elsewhere."""
    ours = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    is_same = host.facts.get("KernelVersion") == os.uname().release and host.memory_bytes == ours
    return connection.of(host).is_local_socket and is_same
