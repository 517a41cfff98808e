"""The GGUF reader on right files and on wrong ones, each wrong one with the sentence a person gets."""

import os
import re
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import gguf as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.catalog.gguf_builder import ARRAY, I32, STRING, U8, U32, U64, Gguf, pair, string
from tests.catalog.gguf_small import read, small
from tests.catalog.mutants import survives
from tests.planner.shapes import SHAPES
from webapp.catalog import gguf
from webapp.catalog.gguf import ArrayValue, HeaderError
from webapp.foundation.text import one_line
from webapp.planner import ggml

MODEL = os.environ.get("MODELYARD_TEST_GGUF", "")


def refusal(raw: bytes, size: int | None = None) -> str:
    with pytest.raises(HeaderError) as caught:
        read(raw, size)
    return str(caught.value)


def with_key(raw_pair: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + raw_pair


def with_tensor(name: bytes, dimensions: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string(name) + shape + struct.pack("<IQ", kind, offset)


def test_every_kind_of_value_is_read() -> None:
    header = read(small().file())
    assert header.metadata == {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.file_type": 15,
        "llama.block_count": 2,
        "llama.attention.head_count": 4,
        "llama.embedding_length": 64,
        "tokenizer.ggml.tokens": ArrayValue(3),
        "flag": True,
        "wide": 2**40,
        "real": 0.5,
        "list": ArrayValue(2, (1.0, 2.5)),
    }


def test_tensors_lie_where_the_writer_put_them() -> None:
    model = small()
    header = read(model.file(), len(model.file()))
    assert [(t.offset, t.size_bytes) for t in header.tensors] == model.layout()[0]
    assert header.data_offset == len(model.header())
    assert header.expected_file_bytes <= len(model.file())
    assert header.tensors[2].dimensions == () and header.tensors[2].size_bytes == 4


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 8, 64])
def test_versions_and_alignments(version: int, alignment: int) -> None:
    model = small().number("general.alignment", alignment)
    model.version, model.alignment = version, alignment
    header = read(model.file())
    assert (header.version, header.alignment, header.data_offset) == (version, alignment, len(model.header()))


def test_only_the_header_is_read() -> None:
    class Counting(BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            part = super().read(size)
            self.taken += len(part)
            return part

    model = small()
    file = Counting(model.header() + b"\0" * 10_000_000)
    gguf.read_header(file)
    assert file.taken < 600_000


def test_reader_agrees_with_the_reference_reader(tmp_path: Path) -> None:
    for name in ("llama_q4_k", "gemma3", "deepseek2", "mixture"):
        path = tmp_path / name
        path.write_bytes(SHAPES[name]().file())
        _agrees(path)


@pytest.mark.skipif(not MODEL, reason="no model file named in MODELYARD_TEST_GGUF")
def test_reader_agrees_with_the_reference_reader_on_a_real_model() -> None:
    _agrees(Path(MODEL))


def _agrees(path: Path) -> None:
    theirs = reference.GGUFReader(path)
    with path.open("rb") as file:
        ours = gguf.read_header(file, path.stat().st_size)
    assert [(t.name, t.dimensions, t.kind.name, t.size_bytes) for t in ours.tensors] == [
        (t.name, tuple(int(d) for d in t.shape), t.tensor_type.name, t.n_bytes) for t in theirs.tensors
    ]
    assert ours.data_offset == theirs.data_offset
    for key, value in ours.metadata.items():
        content = theirs.fields[key].contents()
        if not isinstance(value, ArrayValue):
            assert value == _shown(content)
        else:
            assert len(content) == value.count
            assert value.items is None or list(value.items) == [_shown(item) for item in content]


def _shown(content: Any) -> Any:
    """Ours is made fit to be stored and shown as it is read."""
    return one_line(content) if isinstance(content, str) else content


def test_type_table_agrees_with_the_reference() -> None:
    for kind, (block, size) in reference.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # the reference counts two 32-bit scales, llama.cpp two of 16 bits
            assert ggml.TYPES[int(kind)] == (kind.name, block, size)
    for file_type in reference.LlamaFileType:
        if file_type != reference.LlamaFileType.GUESSED:
            assert ggml.FILE_TYPES[int(file_type)] == file_type.name.removeprefix("MOSTLY_").removeprefix("ALL_")


WRONG: list[tuple[Callable[[], bytes], str]] = [
    (lambda: b"", "ends at byte 0"),
    (lambda: b"<!DOCTYPE html>" + b" " * 100, "Not a GGUF file: it begins with b'<!DO'"),
    (lambda: b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    (lambda: b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1 is not supported"),
    (lambda: b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "A newer Modelyard"),
    (lambda: b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    (lambda: b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "tensors (at most"),
    (lambda: b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "keys (at most"),
    (lambda: with_key(struct.pack("<Q", 2**63)), "claims 9,223,372,036,854,775,808 bytes"),
    (lambda: with_key(pair("", U32, 1)), "Key 0 is empty"),
    (lambda: with_key(string("a") + struct.pack("<I", 99)), "unknown value type 99"),
    (lambda: with_key(string("a") + struct.pack("<IQ", STRING, 2**40)), "Key a claims"),
    (lambda: with_key(string("a") + struct.pack("<IIQ", ARRAY, U8, 2**62)), "an array of 4,611"),
    (lambda: with_key(string("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1)), "array of the unknown type 9"),
    (lambda: with_key(string("a") + struct.pack("<IIQQ", ARRAY, STRING, 2, 2**50)), "A string of a claims"),
    (lambda: with_key(string("a") + struct.pack("<IIQ", ARRAY, I32, 2**20)), "in the middle of its header"),
    (lambda: with_key(pair("general.alignment", U32, 24)), "power of two"),
    (lambda: with_key(pair("general.alignment", STRING, "32")), "power of two"),
    (lambda: with_tensor(b"x" * 64, (1,), 0), "name of tensor 0 claims 64 bytes"),
    (lambda: with_tensor(b"x", (1, 1, 1, 1, 1), 0), "claims 5 dimensions"),
    (lambda: with_tensor(b"x", (1,), 31), "unknown type 31"),
    (lambda: with_tensor(b"x", (33,), 2), "whole blocks of Q4_0"),
    (lambda: with_tensor(b"x", (2**62, 2**62), 0), "claims 21,267"),
    (lambda: with_tensor(b"x", (4,), 0, offset=32), "said to start at 32"),
    (lambda: small().tensor("one").file(), "two tensors called one"),
    (lambda: small().number("general.file_type", 1).file(), "duplicate: general.file_type"),
]


@pytest.mark.parametrize(("raw", "words"), WRONG)
def test_wrong_files_are_refused_with_a_sentence(raw: Callable[[], bytes], words: str) -> None:
    assert words in refusal(raw())


def test_every_cut_of_the_header_is_an_incomplete_download() -> None:
    whole = small().header()
    end = len(whole.rstrip(b"\0"))
    for length in range(4, end - 20, 7):
        assert "incomplete: download it again" in refusal(whole[:length])


def test_cut_data_is_an_incomplete_download() -> None:
    raw = small().file()
    needed = read(raw).expected_file_bytes
    assert read(raw[:needed], needed)
    assert f"{needed - 1:,} bytes but its tensors need {needed:,}" in refusal(raw[: needed - 1], needed - 1)
    with pytest.raises(HeaderError, match="incomplete"):
        gguf.facts(read(raw), needed - 1)


def test_header_that_never_ends_is_given_up() -> None:
    class Endless:
        def read(self, size: int = -1) -> bytes:
            return b"\0" * min(size, 2**20)

    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 40)
    arrays = b"".join(string(f"k{n}") + struct.pack("<IIQ", ARRAY, U64, 2**21) + b"\0" * 2**24 for n in range(5))

    class File(Endless):
        head = BytesIO(start + arrays)

        def read(self, size: int = -1) -> bytes:
            return self.head.read(size) or super().read(size)

    with pytest.raises(HeaderError, match="longer than 64 MiB"):
        gguf.read_header(File())  # type: ignore[arg-type]


def test_hostile_lengths_cost_no_memory() -> None:
    raws = [make() for make, _words in WRONG]
    tracemalloc.start()
    for raw in raws:
        refusal(raw)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20, peak


def test_dearest_file_that_is_let_through_costs_seconds() -> None:
    names = [string(name) + struct.pack("<IIQ", ARRAY, STRING, 2**21) for name in ("a", "b")]
    raw = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + b"".join(name + b"\0" * 2**24 for name in names)
    began = time.process_time()
    read(raw)
    assert time.process_time() - began < 5


def run_mutants(seed: int, count: int) -> str:
    """The mutants' own process: 256 MB of address space above what the interpreter needs; it tells a hang."""
    command = [sys.executable, "-m", "tests.catalog.mutants", str(seed), str(count)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_mutants_of_real_headers_never_crash_the_reader() -> None:
    said = run_mutants(seed=20261122, count=4000)
    refused, read_whole = map(int, re.findall(r"(\d+) (?:refused|read)", said))
    assert refused + read_whole == 4000
    assert min(refused, read_whole) > 100  # both ways were really taken


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_a_million_mutants_never_crash_the_reader(seed: int) -> None:
    """In twenty parts: each is a result, and none comes near the limit on a busy machine."""
    run_mutants(seed, count=50_000)


_numbers = st.sampled_from([0, 1, 2, 3, 6, 64, 255, 2**31 - 1, 2**32 - 1])
_keys = st.sampled_from(
    [f"llama.{k}" for k in ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv")]
    + ["llama.nextn_predict_layers", "llama.attention.key_length", "llama.expert_used_count", "general.file_type"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_keys, st.one_of(_numbers, st.lists(_numbers, max_size=8))))
def test_any_numbers_give_facts_or_a_refusal(numbers: dict[str, int | list[int]]) -> None:
    model = Gguf().text("general.architecture", "llama")
    for key, content in numbers.items():
        if isinstance(content, list):
            model.keys.append((key, ARRAY, (U32, content)))
        else:
            model.number(key, content)
    survives(model.file())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_give_facts_or_a_refusal(tail: bytes) -> None:
    survives(b"GGUF\x03\0\0\0" + tail)
