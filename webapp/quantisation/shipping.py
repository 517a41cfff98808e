"""The two texts that ship: one to calibrate on, another to judge with, both our own (Apache-2.0)."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).with_name("texts")
LICENCE = "Apache-2.0"
CALIBRATION = "Mixed, to calibrate"
JUDGING = "Mixed, to judge"
SHIPPED = {CALIBRATION: FOLDER / "calibration.txt", JUDGING: FOLDER / "judging.txt"}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
