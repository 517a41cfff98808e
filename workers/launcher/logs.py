"""Where the supervised processes' lines go: a capped file each, and the console with a prefix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

FILE_LIMIT_BYTES = 5 * 1024 * 1024
KEPT = 2
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)


class Logs:
    """One file a process under `folder` (5 MiB, two older ones kept), and prefixed lines on the console.

    `echo` False keeps the console for the steps.
    """

    def __init__(self, folder: Path, names: list[str], *, echo: bool, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit_bytes
        self._echo = echo
        self._width = max(map(len, names), default=0)
        self._colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
        self._is_terminal = sys.stdout.isatty()
        self._files: dict[str, IO[bytes]] = {}

    def line(self, name: str, text: str) -> None:
        """Keep one line of process `name`."""
        self._write(name, text.encode("utf-8", "replace") + b"\n")
        if self._echo:
            self.show(name, text)

    def show(self, name: str, text: str) -> None:
        """Print one line with the process's prefix."""
        prefix = f"{name:<{self._width}} | "
        if self._is_terminal:
            prefix = f"\x1b[{self._colours.get(name, 37)}m{prefix}\x1b[0m"
            # What an engine or a request put into a log line must not drive the terminal.
            text = "".join(char if char.isprintable() or char == "\t" else "�" for char in text)
        self.plain(prefix + text)

    def plain(self, text: str) -> None:
        """Print one line as it is."""
        try:
            print(text, flush=True)
        except OSError:
            # The terminal is gone; the files go on.
            self._echo = False

    def tail(self, name: str, lines: int = 15) -> list[str]:
        """The last lines of a process's file."""
        path = self._folder / f"{name}.log"
        return path.read_text("utf-8", "replace").splitlines()[-lines:] if path.exists() else []

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / f"{name}.log"
        try:
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = path.open("ab", buffering=0)
            if file.tell() + len(data) > self._limit:
                file.close()
                for number in range(KEPT, 0, -1):
                    older = path.with_name(f"{name}.log.{number - 1}") if number > 1 else path
                    if older.exists():
                        older.replace(path.with_name(f"{name}.log.{number}"))
                file = self._files[name] = path.open("ab", buffering=0)
            file.write(data)
        except OSError as error:
            # A full disk must not end the processes; the console still has the line.
            broken = self._files.pop(name, None)
            if broken is not None:
                broken.close()
            if not self._echo:
                self.show(name, f"(log file: {error})")
