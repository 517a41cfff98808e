"""A small model's header, and how it is read, for the tests of the reader."""

from io import BytesIO

from tests.catalog.gguf_builder import ARRAY, BOOL, F32, F64, STRING, U64, Gguf
from webapp.catalog import gguf


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
