"""The quantising suite's Docker engine: four large images, built or loaded for a quarter of an hour that is mostly
waiting, and SmolLM2 in 16 bits.

`python -m tests.parts.quantisers` makes it ready, prints its socket and keeps it until standard input closes, so that
it can be made while other suites run: MODELYARD_TEST_QUANT_ENGINE names it to the suite.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import docker

from tests.parts import smollm2
from tests.parts.dockerd import Dockerd, running_dockerd
from workers.launcher import images, python_images

NUMBER = 88


def put_images(engine: Any, *contexts: images.Context) -> None:
    """Put the tools' image and these on the engine, from the cache or built."""
    client = docker.DockerClient(engine.endpoint, timeout=600)
    with contextlib.closing(client):
        images.ensure_tools_image(client)
        for context in contexts:
            images.ensure_local(client, context)


def kept(endpoint: str) -> Dockerd:
    """An engine that another process keeps, without what an earlier suite left on it."""
    engine = Dockerd(NUMBER, root=Path(endpoint.removeprefix("unix://")).parent)
    engine.remove_containers()
    with contextlib.closing(engine.client()) as client, contextlib.suppress(docker.errors.NotFound):
        client.remove_volume("modelyard-models", force=True)
    return engine


def main() -> int:
    with running_dockerd(NUMBER) as engine:
        put_images(engine, python_images.GGUF, python_images.LLMCOMPRESSOR, python_images.VLLM)
        smollm2.folder()
        print(engine.endpoint, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
