"""Sizes and names of ggml's tensor types and of GGUF's file types.

Sources: `enum ggml_type` (ggml/include/ggml.h), the block structs of ggml/src/ggml-common.h and
`enum llama_ftype` (include/llama.h) of llama.cpp at 0c1e57098. Numbers that once were types and have been
removed (4, 5, 31-33, 36-38) are absent: a file that uses them cannot be served any more.
"""

from typing import NamedTuple


class GgmlType(NamedTuple):
    """One tensor type: `block` elements take `bytes` bytes."""

    name: str
    block: int
    bytes: int

    def size_of(self, elements: int) -> int:
        """Bytes of `elements` elements; a started block counts whole."""
        return -(-elements // self.block) * self.bytes

    @property
    def bits(self) -> float:
        """Bits per element, block scales included."""
        return self.bytes * 8 / self.block


TYPES: dict[int, GgmlType] = {
    0: GgmlType("F32", 1, 4),
    1: GgmlType("F16", 1, 2),
    2: GgmlType("Q4_0", 32, 18),
    3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22),
    7: GgmlType("Q5_1", 32, 24),
    8: GgmlType("Q8_0", 32, 34),
    9: GgmlType("Q8_1", 32, 36),
    10: GgmlType("Q2_K", 256, 84),
    11: GgmlType("Q3_K", 256, 110),
    12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176),
    14: GgmlType("Q6_K", 256, 210),
    15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66),
    17: GgmlType("IQ2_XS", 256, 74),
    18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50),
    20: GgmlType("IQ4_NL", 32, 18),
    21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82),
    23: GgmlType("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1),
    25: GgmlType("I16", 1, 2),
    26: GgmlType("I32", 1, 4),
    27: GgmlType("I64", 1, 8),
    28: GgmlType("F64", 1, 8),
    29: GgmlType("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2),
    34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66),
    39: GgmlType("MXFP4", 32, 17),
    40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
    42: GgmlType("Q2_0", 64, 18),
}

BY_NAME: dict[str, GgmlType] = {kind.name: kind for kind in TYPES.values()}

# general.file_type -> the name people know the quantisation by
FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}

# What llama-server's --cache-type-k/-v accept (kv_cache_types, common/arg.cpp).
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def cache_type(name: str) -> GgmlType:
    """The ggml type behind a llama-server cache type name such as "q8_0". Raises KeyError for an unknown one."""
    if name not in CACHE_TYPES:
        raise KeyError(f"{name!r} is not a cache type; llama-server knows {', '.join(CACHE_TYPES)}")
    return BY_NAME[name.upper()]


# Types whose matrices llama.cpp's CPU code copies into another order at load on x86 with AVX2, when the rows are a
# multiple of 8 (ggml/src/ggml-cpu/repack.cpp). Q2_K (AVX-512) and others (Arm) follow other CPU features.
REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
