"""What a host's processors can do: read through a short container, as everything of a host is."""

import logging
from typing import Any

from webapp.inventory.probes import processor
from webapp.inventory.probes.devices import ProbeError
from workers.runtime import specs
from workers.runtime.base import ContainerSpec, ImageMissing, Runtime, RuntimeFault

logger = logging.getLogger(__name__)

# A start takes tenths of a second, and as many seconds where everything else is at work.
TIMEOUT_S = 30.0
MEMORY_BYTES = 64 * 1024**2


def find(runtime: Runtime, installation: str) -> dict[str, Any] | None:
    """As it is stored in the host's facts; None when nothing could be read, and then nothing is known not to run."""
    spec = ContainerSpec(
        name=specs.probe_name(installation, "processor"),
        image=specs.TOOLS_IMAGE,
        labels=specs.labels(installation, "probe", 0, 1, 1),
        argv=processor.COMMAND,
        user=specs.NOBODY,
        memory_bytes=MEMORY_BYTES,
        pids=32,
    )
    try:
        runtime.remove(spec.name)  # what a worker left that died in its probe
        code, output = runtime.run(spec, TIMEOUT_S)
        if code != 0:
            raise ProbeError(f"it ended with exit code {code}: {output.strip()[-300:]}")
        return processor.parse(output).as_json()
    except ImageMissing:
        logger.info("the processors are read once the host has the image %s", spec.image)
    except (ProbeError, RuntimeFault) as fault:
        # A host that is busy or gone: whoever needs an answer asks it next, and knows what silence means.
        logger.warning("the probe of the processors gave nothing: %s", fault)
    return None
