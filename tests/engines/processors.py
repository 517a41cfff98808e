"""Flags of processors as /proc/cpuinfo lists them, for tables of cases; no more of them than decide anything."""

OLD_X86 = frozenset(["fpu", "lm", "sse", "sse2", "ssse3", "sse4_1", "sse4_2", "popcnt"])
AVX2 = OLD_X86 | frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma"])
AVX512 = AVX2 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
AMX = AVX512 | frozenset(["avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"])
ARM = frozenset(["fp", "asimd", "asimddp", "i8mm", "bf16", "sve"])
UNKNOWN = frozenset[str]()
