"""What the quantising suite needs: four large images on a Docker engine, and SmolLM2 in 16 bits.

`python -m tests.parts.quantisers` has the cache folder hold them, so that they can be made while other suites run: ten
minutes that are mostly waiting for downloads and disks.
"""

import contextlib
import sys
from typing import Any

import docker

from tests.parts import smollm2
from tests.parts.dockerd import running_dockerd
from workers.launcher import images, python_images

NUMBER = 88
CONTEXTS = (python_images.GGUF, python_images.LLMCOMPRESSOR, python_images.VLLM)


def put_images(engine: Any, *contexts: images.Context) -> None:
    """Put the tools' image and these on the engine, from the cache or built."""
    client = docker.DockerClient(engine.endpoint, timeout=600)
    with contextlib.closing(client):
        images.ensure_tools_image(client)
        for context in contexts:
            images.ensure_local(client, context)


def main() -> int:
    if not all(images.saved_copy(context).exists() for context in CONTEXTS):
        with running_dockerd(NUMBER) as engine:
            put_images(engine, *CONTEXTS)
    smollm2.folder()
    return 0


if __name__ == "__main__":
    sys.exit(main())
