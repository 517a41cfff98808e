"""Feeds damaged GGUF headers to the reader, with little memory.

`python -m tests.catalog.mutants SEED COUNT` ends with 0 when every one gave facts or a HeaderError.
"""

import random
import resource
import struct
import sys
import time
from io import BytesIO
from pathlib import Path

from tests.planner.shapes import SHAPES
from webapp.catalog import gguf
from webapp.catalog.gguf import HeaderError
from webapp.planner.facts import ModelFacts

MEMORY_BYTES = 256 * 2**20
# Processor time: above it the reader hangs.
INPUT_S = 60.0
EXTREMES = [0, 1, 2**31, 2**32, 2**63, 2**64 - 1]


def survives(raw: bytes, size: int | None = None) -> bool:
    """True for facts, False for a HeaderError; anything else escapes."""
    try:
        facts = gguf.facts(gguf.read_header(BytesIO(raw), size))
    except HeaderError as refused:
        assert str(refused)
        return False
    assert facts == ModelFacts.from_json(facts.as_json())
    return True


def mutate(rng: random.Random, raw: bytearray) -> None:
    """One change that bit rot, a cut, a splice or malice makes."""
    at = rng.randrange(len(raw))
    match rng.randrange(5):
        case 0:
            raw[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        case 1:
            raw[at : at + 8] = struct.pack("<Q", rng.choice(EXTREMES))
        case 2:
            del raw[at : at + rng.randint(1, 64)]
        case 3:
            raw[at:at] = raw[rng.randrange(len(raw)) :][: rng.randint(1, 64)]
        case 4:
            # into a value, so that the frame around it stays whole
            raw[at] ^= 1 << rng.randrange(8)


def run(seed: int, count: int) -> tuple[int, int, float]:
    """(refused, read, seconds of the slowest)."""
    rng = random.Random(seed)
    sources = [SHAPES[name]().header() for name in ("llama", "gemma3", "deepseek2", "mamba")]
    tallies, slowest = [0, 0], 0.0
    for _ in range(count):
        raw = bytearray(rng.choice(sources))
        for _change in range(rng.randint(1, 2)):
            if raw:
                mutate(rng, raw)
        began = time.process_time()
        tallies[survives(bytes(raw), rng.choice([None, 0, len(raw), 2**40]))] += 1
        slowest = max(slowest, time.process_time() - began)
    return tallies[0], tallies[1], slowest


if __name__ == "__main__":
    address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (address_space + MEMORY_BYTES,) * 2)
    refused, read, slowest = run(int(sys.argv[1]), int(sys.argv[2]))
    print(f"{refused} refused, {read} read, slowest {slowest * 1000:.1f} ms")
    sys.exit(slowest > INPUT_S)
