"""The forwarder's image: the distribution's socat on the base of packages, or a pulled one where there is no apt."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import docker

from webapp import engines
from webapp.foundation.paths import REPOSITORY, cache_dir
from workers.launcher import debian_base, images, pulling
from workers.launcher.cache import content_key
from workers.launcher.progress import LauncherError, Progress, silent
from workers.runtime.specs import FORWARDER_IMAGES, VENDOR_DEVICES

PACKAGES = ("socat",)
LOCAL, PULLED = FORWARDER_IMAGES


def _folders(_python: str, on_progress: Progress) -> dict[str, Path]:
    target = cache_dir() / f"socat-{content_key(Path(__file__), extra=debian_base.recipe_key())}"
    if not target.exists():
        work = target.with_name(f".partial-{target.name}-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        root = debian_base.unpack_beside(cache_dir() / f"base-{debian_base.recipe_key()}", work, PACKAGES, on_progress)
        root.replace(target)
        shutil.rmtree(work)
    return {"socat": target}


FORWARDER = images.Context(
    LOCAL, REPOSITORY / "compose/forwarder/Dockerfile", {}, folders=_folders, decided_by=(Path(__file__),)
)


def is_needed(dev: Path = Path("/dev")) -> bool:
    """Whether something here may want it: an engine that listens on ports alone, or cards by AMD or Intel, since those
    engines run as their image's user."""
    nodes = {node for _driver, nodes, _groups in VENDOR_DEVICES.values() for node in nodes}
    has_cards = any((dev / Path(node).name).exists() for node in nodes)
    return has_cards or not all(engine.takes_socket for engine in engines.all())


def ensure_image(client: docker.DockerClient, on_progress: Progress = silent) -> str:
    """The reference of a forwarder's image that is on this engine. Raises LauncherError saying what is missing."""
    if debian_base.is_possible():
        return images.ensure_local(client, FORWARDER, on_progress)
    if images.find(client, PULLED) is None:
        refused = pulling.pull(client, PULLED, on_progress)
        if refused:
            raise LauncherError(
                f"{PULLED} could not be pulled ({refused}); engines that cannot listen on a socket need it."
            )
    return PULLED
