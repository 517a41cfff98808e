"""What a process holds in memory."""

from pathlib import Path


def pss_bytes(pid: int) -> int:
    """Proportional set size; raises OSError when the process is gone."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
