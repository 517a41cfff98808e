"""safetensors headers: sound ones are read, all others are refused in words."""

import json
import pickle
import struct
import subprocess
import sys
from io import BytesIO

import pytest

from tests.catalog.safetensors_file import CONFIG, entries, safetensors_bytes
from webapp.catalog import configs
from webapp.catalog.configs import ConfigError
from webapp.catalog.safetensors import MAX_HEADER_BYTES, HeaderError, read_header
from webapp.planner.facts import KvGroup, ModelFacts


def framed(head: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(head)) + head + data


def test_a_sound_header_is_read():
    raw = safetensors_bytes()
    header = read_header(BytesIO(raw), len(raw))
    assert [(t.name, t.dtype, t.shape, t.elements) for t in header.tensors] == [
        ("model.embed.weight", "BF16", (64, 32), 2048),
        ("model.layers.0.weight", "BF16", (32, 32), 1024),
    ]
    assert (header.data_bytes, header.file_bytes) == (6144, len(raw))


def test_only_the_header_is_read_from_the_file():
    raw = safetensors_bytes()
    file = BytesIO(raw)
    read_header(file)
    assert file.tell() == len(raw) - 6144


def test_a_pickle_is_called_one():
    for protocol in (2, 4, 5):
        with pytest.raises(HeaderError, match="pickle"):
            read_header(BytesIO(pickle.dumps({"a": 1}, protocol)))
    with pytest.raises(HeaderError, match="pickle"):
        read_header(BytesIO(b"PK\x03\x04" + b"x" * 100))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 100,
        b"<!doctype html><html>",
        framed(b"[]"),
        framed(b"{} {}"),
        framed(b'{"a": ' + b"[" * 10_000 + b"}"),
        framed(b'{"a": 1, "a": 2}'),
        framed(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"x": 1}}', b"\0" * 4),
        struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{" * 100,
        framed(b"{" + b"[]," * 500_000 + b"}"),
        framed(b'{"a": ' + b"9" * 5000 + b"}"),
    ],
)
def test_what_is_no_header_is_refused(raw):
    with pytest.raises(HeaderError) as refused:
        read_header(BytesIO(raw))
    assert str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F33"},
        {"dtype": ["F32"]},
        {"shape": [-1]},
        {"shape": [True]},
        {"shape": [2**62, 2**62]},
        {"shape": "x"},
        {"data_offsets": [0]},
        {"data_offsets": [4, 0]},
        {"data_offsets": [0, 8]},
        {"data_offsets": [4, 8]},
        {"data_offsets": [0, 2**64]},
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(change):
    entry = {**entries({"a": ("F32", (1,))})["a"], **change}
    with pytest.raises(HeaderError):
        read_header(BytesIO(framed(json.dumps({"a": entry}).encode(), b"\0" * 4)))


def test_tensors_may_neither_overlap_nor_leave_room_for_something_else():
    two = entries({"a": ("F32", (4,)), "b": ("F32", (4,))})
    two["b"]["data_offsets"] = [8, 24]
    with pytest.raises(HeaderError, match="begins at"):
        read_header(BytesIO(framed(json.dumps(two).encode())))
    raw = safetensors_bytes()
    with pytest.raises(HeaderError, match="Something else"):
        read_header(BytesIO(raw), len(raw) + 1)
    with pytest.raises(HeaderError, match="incomplete"):
        read_header(BytesIO(raw), len(raw) - 1)


def run_mutants(seed: int, count: int) -> tuple[int, int]:
    """(refused, read): in a process of its own with 256 MB above what the interpreter needs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.catalog.safetensors_mutants", str(seed), str(count)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    refused, read = (int(word) for word in done.stdout.replace("read", "").split() if word.isdigit())
    assert refused + read == count
    return refused, read


def test_generated_inputs_never_crash_the_reader_within_limits():
    refused, read = run_mutants(seed=7, count=4000)
    assert refused > 1000 and read > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_a_million_generated_inputs_never_crash_the_reader(seed):
    """In twenty parts, as for GGUF."""
    run_mutants(seed, count=50_000)


def test_config_and_headers_make_facts_for_the_planner():
    header = read_header(BytesIO(safetensors_bytes()))
    facts = configs.facts(CONFIG, [header], "Tiny")
    assert (facts.architecture, facts.layers, facts.kv_heads, facts.key_length) == ("llama", 2, 2, 8)
    assert (facts.parameters, facts.weights_bytes, facts.quantisation) == (3072, 6144, "BF16")
    assert facts.kv_groups == (KvGroup(2, 16, 16),)
    assert ModelFacts.from_json(facts.as_json()) == facts


@pytest.mark.parametrize(
    ("quantization_config", "name"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "AWQ 4-bit"),
        ({"quant_method": "gptq", "bits": 8}, "GPTQ 8-bit"),
        ({"quant_method": "fp8"}, "FP8"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "FP8"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {"group_0": {"weights": {"num_bits": 4}}},
            },
            "packed 4-bit",
        ),
    ],
)
def test_the_quantisation_has_its_usual_name(quantization_config, name):
    assert configs.quantisation({"quantization_config": quantization_config}) == name


def test_packed_weights_are_counted_as_what_they_hold():
    tensors = {"a.qweight": ("I32", (32, 4)), "a.scales": ("F16", (1, 32)), "a.qzeros": ("I32", (1, 4))}
    header = read_header(BytesIO(safetensors_bytes(tensors)))
    config = {**CONFIG, "quantization_config": {"quant_method": "awq", "bits": 4}}
    assert configs.facts(config, [header]).parameters == 32 * 4 * 8


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b"{}" + b" " * 3_000_000])
def test_a_config_that_is_none_is_refused(raw):
    with pytest.raises(ConfigError):
        configs.read_config(raw)


@pytest.mark.parametrize("change", [{"model_type": ""}, {"num_hidden_layers": -3}, {"hidden_size": 2**70}])
def test_a_config_that_makes_no_sense_is_refused(change):
    with pytest.raises(ConfigError):
        configs.facts({**CONFIG, **change}, [])
