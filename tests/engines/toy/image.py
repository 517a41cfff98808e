"""The toy's image, put together without a registry."""

import contextlib
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.engines.toy.adapter import IMAGE

SOURCE = Path(__file__).parent / "server.c"


def bring(dockerd: Any) -> None:
    """Compile the server and import it as the one program of an image."""
    repository, _colon, tag = IMAGE.partition(":")
    with contextlib.closing(dockerd.client()) as client:
        client.import_image_from_data(_archive(), repository=repository, tag=tag, changes=['ENTRYPOINT ["/toy"]'])


def _archive() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "toy"
        subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", str(program), str(SOURCE)], check=True)
        content = program.read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("tmp", "models"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("toy")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
