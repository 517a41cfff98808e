"""Damaged safetensors files by the thousand, in a process with little memory: `python -m ... SEED COUNT`."""

import random
import resource
import sys
import time
from io import BytesIO
from pathlib import Path

from tests.catalog.mutants import INPUT_S, MEMORY_BYTES, mutate
from tests.catalog.safetensors_file import safetensors_bytes
from webapp.catalog.safetensors import HeaderError, read_header


def run(seed: int, count: int) -> tuple[int, int, float]:
    """(refused, read, seconds of the slowest)."""
    rng = random.Random(seed)
    many = {f"layers.{number}.weight": ("BF16", (8, 8)) for number in range(20)}
    sources = [safetensors_bytes(), safetensors_bytes(many), safetensors_bytes({"a.qweight": ("I32", (4, 4))})]
    tallies, slowest = [0, 0], 0.0
    for _ in range(count):
        raw = bytearray(rng.choice(sources))
        for _change in range(rng.randint(1, 2)):
            mutate(rng, raw)
        began = time.process_time()
        try:
            read_header(BytesIO(bytes(raw)), rng.choice([None, 0, len(raw), 2**40]))
            tallies[1] += 1
        except HeaderError as refused:
            assert str(refused)
            tallies[0] += 1
        slowest = max(slowest, time.process_time() - began)
    return tallies[0], tallies[1], slowest


if __name__ == "__main__":
    address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (address_space + MEMORY_BYTES,) * 2)
    refused, read, slowest = run(int(sys.argv[1]), int(sys.argv[2]))
    print(f"{refused} refused, {read} read, slowest {slowest * 1000:.1f} ms")
    sys.exit(slowest > INPUT_S)
