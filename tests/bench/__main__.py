"""`make bench`: every figure, one after the other, each against its limit."""

import subprocess
import sys

PARTS = ["tests.bench.gateway", "tests.bench.product", "tests.bench.suites"]


def main() -> int:
    codes = []
    for part in PARTS:
        print(f"\n=== {part} ===", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", part, *sys.argv[1:]]).returncode)
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
