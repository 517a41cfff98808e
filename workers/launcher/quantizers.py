"""`make quantizers`: the images that quantising jobs and vLLM on processors run in."""

from __future__ import annotations

from webapp.foundation import paths
from workers.launcher import docker_engine, images, python_images
from workers.launcher.progress import Steps


def build() -> int:
    """Build what is missing on this machine's engine, or load it from the cache. Raises LauncherError."""
    steps = Steps()
    with steps.step("Docker engine") as progress:
        engine = docker_engine.ensure_engine(paths.state_dir(), progress)
    client = docker_engine.connect(engine.url, timeout_s=1200)
    with steps.step("Image for jobs") as progress:
        images.ensure_tools_image(client, progress)
    for context in python_images.EVERY:
        with steps.step(context.tag) as progress:
            images.ensure_local(client, context, progress)
    print("\nThe images are there. A model's page now offers to quantise it.", flush=True)
    return 0
