"""A disk of a few hundred megabytes under the models volume and under what Docker keeps of its containers, so that it
can really be full: both lie on one disk wherever Docker's data folder is not split."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZE_BYTES = 1200 * 1024**2


class SmallDisk:
    """`folder` is the disk's root, `models` what the volume shows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.models = folder, folder / "models"
        self._ballast = folder / "ballast"

    def used_bytes(self) -> int:
        """By everything but what `fill` put there."""
        there = self._ballast.stat().st_blocks * 512 if self._ballast.exists() else 0
        return shutil.disk_usage(self.folder).used - there

    def fill(self, free_bytes: int = 0) -> None:
        """Leave so many bytes free; at most a few blocks more."""
        with self._ballast.open("ab") as file, contextlib.suppress(OSError):
            room = shutil.disk_usage(self.folder).free - free_bytes
            if room > 0:
                os.posix_fallocate(file.fileno(), file.tell(), room)
            while shutil.disk_usage(self.folder).free > free_bytes:
                file.write(bytes(4096))
                file.flush()

    def give_room(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(engine: Any) -> Iterator[SmallDisk]:
    """The disk in the place of the engine's models volume and containers; what lay there is back afterwards."""
    engine.remove_containers()
    with contextlib.closing(engine.client()) as client:
        volume = Path(client.inspect_volume("modelyard-models")["Mountpoint"])
    image, folder = engine.root / "small.img", engine.root / "small"
    folder.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    disk = SmallDisk(folder)
    mounted: list[Path] = []

    def mount(*argv: str) -> None:
        subprocess.run(["mount", *argv], check=True)
        mounted.append(Path(argv[-1]))

    try:
        # No blocks are kept for root, who Docker is: full is full.
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        mount("-o", "loop", str(image), str(folder))
        for name, place, mode in (("models", volume, 0o755), ("containers", engine.root / "data/containers", 0o710)):
            (folder / name).mkdir(mode=mode)
            mount("--bind", str(folder / name), str(place))
        # Docker gives a new volume the owner that the image's folder has.
        os.chown(disk.models, 65534, 65534)
        yield disk
    finally:
        disk.give_room()
        engine.remove_containers()
        for place in reversed(mounted):
            subprocess.run(["umount", str(place)], check=True)
        image.unlink()
