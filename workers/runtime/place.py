"""Is a host's Docker engine on the very machine that we run on?"""

import os
from collections.abc import Mapping
from typing import Any


def is_this_machine(endpoint: str, facts: Mapping[str, Any], memory_bytes: int) -> bool:
    """A local socket, and the engine tells of the same kernel and the same memory as we see: a socket may be forwarded
    from elsewhere."""
    ours = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return endpoint.startswith("unix://") and facts.get("KernelVersion") == os.uname().release and memory_bytes == ours
