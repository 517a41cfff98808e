"""Loads a model with the real llama.cpp server library and returns what it printed."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from webapp.engines.llamacpp.memory import Settings

# The log is written by a thread of its own: after a load the process stays until its last line was seen, after a
# failure it ends normally. The server is kept: its destructor can wait for ever right after the start.
_PROGRAM = """
import json, os, resource, sys, xllamacpp as x
wanted = json.loads(sys.argv[1])
space = wanted.pop("address_space")
if space:
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
p = x.CommonParams()
p.model.path, p.hostnames, p.port, p.verbosity = wanted.pop("path"), ["127.0.0.1"], 0, 4
p.cpuparams.n_threads = 1
p.fit_params = False
for name in ("cache_type_k", "cache_type_v"):
    setattr(p, name, getattr(x.ggml_type, "GGML_TYPE_" + wanted.pop(name).upper()))
p.flash_attn_type = getattr(x.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_" + wanted.pop("flash_attention"))
for name, number in wanted.items():
    setattr(p, name, number)
try:
    server = x.Server(p)
except RuntimeError:
    sys.exit(1)
sys.stdin.read()
os._exit(0)
"""


def load(python: str, model: Path, settings: Settings, address_space: int = 0) -> str:
    """The log of one load. `python` is an interpreter that can import xllamacpp; 0 leaves its memory unlimited."""
    wanted: dict[str, Any] = {
        "path": str(model),
        "address_space": address_space,
        "n_ctx": settings.total_context,
        "n_parallel": settings.parallel,
        "n_batch": settings.batch,
        "n_ubatch": settings.micro_batch,
        "cache_type_k": settings.cache_type_k,
        "cache_type_v": settings.cache_type_v,
        "flash_attention": "AUTO" if settings.flash_attention else "DISABLED",
        "embedding": settings.embeddings,
    }
    command = [python, "-c", _PROGRAM, json.dumps(wanted)]
    # A heap per thread would take up to 128 MiB of the address space each, more or less of them by chance.
    options: dict[str, Any] = {"env": {**os.environ, "MALLOC_ARENA_MAX": "1"}, "text": True}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, **options) as process:
        assert process.stdin is not None and process.stdout is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "model loaded" in line:
                process.stdin.close()
        watchdog.cancel()
    return "".join(lines)
