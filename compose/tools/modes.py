"""What jobs put into the models volume is for every user to read: the one place where that is seen to.

Engines with AMD's and Intel's cards run as their image's user, without the right to pass over modes. Tools differ in
what they write (safetensors 0.8 makes files for their owner alone), and so do umasks.
"""

import stat
from contextlib import suppress
from pathlib import Path

FILE, FOLDER = 0o644, 0o755


def open_to_all(*paths: Path) -> None:
    """Let everybody read these files and enter these folders; done before anything gets its final name."""
    for path in paths:
        mode = path.lstat().st_mode
        wanted = FOLDER if stat.S_ISDIR(mode) else FILE
        if stat.S_ISLNK(mode) or mode & wanted == wanted:
            continue
        # A file system without modes refuses, and reads as its mount says.
        with suppress(OSError):
            path.chmod(stat.S_IMODE(mode) | wanted)
