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

from tests.catalog.gguf_builder import ARRAY, BOOL, F32, F64, I32, STRING, U8, U32, U64, Gguf, pair, string
from tests.catalog.mutants import survives
from tests.planner.shapes import SHAPES
from webapp.catalog import gguf
from webapp.catalog.gguf import ArrayValue, HeaderError
from webapp.foundation.text import one_line
from webapp.planner import ggml
from webapp.planner.facts import KvGroup

MODEL = os.environ.get("MODELYARD_TEST_GGUF", "")


def small() -> Gguf:
    model = Gguf().text("general.architecture", "llama").text("general.name", "Tiny").number("general.file_type", 15)
    model.number("llama.block_count", 2).number("llama.attention.head_count", 4).number("llama.embedding_length", 64)
    model.keys.append(("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "ü"])))
    model.keys.append(("flag", BOOL, True))
    model.keys.append(("wide", U64, 2**40))
    model.keys.append(("real", F64, 0.5))
    model.keys.append(("list", ARRAY, (F32, [1.0, 2.5])))
    return model.tensor("token_embd.weight", 64, 3).tensor("blk.0.attn_q.weight", 64, 64, kind="Q8_0").tensor("one")


def read(raw: bytes, size: int | None = None) -> gguf.GgufHeader:
    return gguf.read_header(BytesIO(raw), size)


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


def test_facts_of_smollm2_are_what_llamacpp_prints_about_it() -> None:
    facts = gguf.facts(read(SHAPES["smollm2"]().header()))
    assert facts.parameters == 134_515_008  # "model params = 134.52 M"
    assert round(facts.weights_bytes / 2**20, 2) == 92.10
    assert round(facts.bits_per_weight, 2) == 5.74
    assert (facts.layers, facts.heads, facts.kv_heads, facts.key_length) == (30, 9, 3, 64)
    assert facts.kv_groups == (KvGroup(30, 192, 192),)
    assert facts.tensor_bytes[0] == ("Q4_1", 66_355_200)
    assert len(facts.layer_bytes) == 30


@pytest.mark.skipif(not MODEL, reason="no model file named in MODELYARD_TEST_GGUF")
def test_facts_of_the_real_file_have_its_names_too() -> None:
    with Path(MODEL).open("rb") as file:
        facts = gguf.facts(gguf.read_header(file), Path(MODEL).stat().st_size)
    shape = gguf.facts(read(SHAPES["smollm2"]().header()))
    assert (facts.quantisation, facts.licence, facts.chat_template) == ("Q4_1", "apache-2.0", True)
    assert (facts.weights_bytes, facts.kv_groups, facts.vocabulary) == (
        shape.weights_bytes,
        shape.kv_groups,
        shape.vocabulary,
    )


@pytest.mark.parametrize(
    ("number", "name"),
    [(15, "Q4_K_M"), (1, "F16"), (32, "BF16"), (30, "IQ4_XS"), (7, "Q8_0"), (1024 + 15, "Q4_K_M"), (999, "F32")],
)
def test_quantisation_has_the_name_people_use(number: int, name: str) -> None:
    model = Gguf().text("general.architecture", "llama").number("general.file_type", number)
    assert gguf.facts(read(model.tensor("a", 64).file())).quantisation == name


def test_files_that_are_not_models_are_refused() -> None:
    with pytest.raises(HeaderError, match="names no architecture"):
        gguf.facts(read(Gguf().file()))
    adapter = Gguf().text("general.architecture", "llama").text("general.type", "adapter")
    with pytest.raises(HeaderError, match="of type adapter, not a model"):
        gguf.facts(read(adapter.file()))
    with pytest.raises(HeaderError, match="multimodal projector"):
        gguf.facts(read(Gguf().text("general.architecture", "clip").file()))


def test_parts_of_a_split_model_add_up() -> None:
    first = small().number("split.count", 2)
    second = Gguf().number("split.no", 1).tensor("blk.1.attn_q.weight", 64, 64, kind="Q8_0")
    alone = gguf.facts(read(first.file()))
    whole = gguf.facts(read(first.file()), more=[read(second.file())])
    assert (alone.split_parts, whole.split_parts) == (2, 2)
    assert whole.weights_bytes == alone.weights_bytes + 64 * 64 // 32 * 34
    assert len(whole.layer_bytes) == 2


def test_a_part_that_gives_no_number_as_its_number_is_refused() -> None:
    first = read(Gguf().number("split.count", 2).number("split.no", 0).file())
    second = read(Gguf().number("split.count", 2).text("split.no", "second").file())
    with pytest.raises(HeaderError, match="says that it is number 'second'"):
        gguf.check_parts([first, second])


def test_senseless_geometry_is_refused() -> None:
    for key, number in (("block_count", 1_000_000), ("context_length", 2**32 - 1)):
        model = Gguf().text("general.architecture", "llama").number(f"llama.{key}", number)
        with pytest.raises(HeaderError, match="geometry makes no sense"):
            gguf.facts(read(model.file()))


GEOMETRY = [
    ("llama", {"attention.sliding_window": 4096}, [(8, 0)]),  # llama.cpp ignores that window
    ("phi3", {"attention.sliding_window": 2047}, [(8, 0)]),
    ("gemma2", {}, [(4, 4096), (4, 0)]),
    ("gemma3", {}, [(8, 0)]),
    ("gpt-oss", {"attention.sliding_window": 128}, [(4, 128), (4, 0)]),
    ("cohere2moe", {"attention.sliding_window": 4096}, [(2, 0), (6, 4096)]),
    ("llama4", {}, [(6, 8192), (2, 0)]),
    ("llama4", {"attention.sliding_window": 0}, [(8, 0)]),
    ("exaone4", {"attention.sliding_window": 4096}, [(8, 0)]),
    ("gemma4", {"attention.sliding_window": 512, "attention.shared_kv_layers": 6}, [(2, 512)]),
    ("qwen3next", {"full_attention_interval": 4}, [(2, 0)]),
    ("glm4moe", {"nextn_predict_layers": 1}, [(7, 0)]),
    ("bert", {}, []),
    ("mamba2", {"ssm.inner_size": 128}, []),
]


@pytest.mark.parametrize(("architecture", "numbers", "groups"), GEOMETRY)
def test_architectures_cache_what_llamacpp_gives_them(
    architecture: str, numbers: dict[str, int], groups: list[tuple[int, int]]
) -> None:
    model = Gguf().text("general.architecture", architecture)
    base = {"block_count": 8, "embedding_length": 256, "attention.head_count": 4, "attention.head_count_kv": 2}
    for key, number in (base | numbers).items():
        model.number(f"{architecture}.{key}", number)
    facts = gguf.facts(read(model.file()))
    assert [(group.layers, group.window) for group in facts.kv_groups] == groups
    assert all(group.key_elements == 128 for group in facts.kv_groups)


def test_patterns_and_heads_may_be_given_layer_by_layer() -> None:
    model = Gguf().text("general.architecture", "gemma4").number("gemma4.block_count", 4)
    model.number("gemma4.embedding_length", 256).number("gemma4.attention.head_count", 4)
    model.number("gemma4.attention.sliding_window", 512).number("gemma4.attention.key_length_swa", 32)
    model.keys.append(("gemma4.attention.sliding_window_pattern", ARRAY, (BOOL, [True, True, False, True])))
    model.numbers("gemma4.attention.head_count_kv", [2, 2, 1, 2])
    facts = gguf.facts(read(model.file()))
    assert facts.kv_groups == (KvGroup(3, 64, 128, 512), KvGroup(1, 64, 64, 0))
    hybrid = Gguf().text("general.architecture", "jamba").number("jamba.block_count", 4)
    hybrid.number("jamba.embedding_length", 256).number("jamba.attention.head_count", 4)
    hybrid.numbers("jamba.attention.head_count_kv", [0, 0, 2, 0]).number("jamba.ssm.inner_size", 512)
    hybrid.number("jamba.ssm.state_size", 16).number("jamba.ssm.conv_kernel", 4)
    facts = gguf.facts(read(hybrid.file()))
    assert [group.layers for group in facts.kv_groups] == [1]
    assert facts.recurrent_bytes == 3 * (3 * 512 + 16 * 512) * 4
