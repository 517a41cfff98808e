"""SmolLM2-135M as a hub would have it (safetensors, 16 bit), made once from the starter's GGUF file, kept in the cache.

python -m tests.parts.smollm2      prints the folder
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.parts import llamacpp
from webapp.foundation.paths import REPOSITORY, cache_dir
from workers.launcher import starter, wheelhouse
from workers.launcher.cache import content_key

# transformers will not save what it read from GGUF, so the weights go into a fresh model.
PROGRAM = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
gguf, out = Path(sys.argv[1]), sys.argv[2]
tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
config = read.config
delattr(config, "quantization_config")
model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.load_state_dict(read.state_dict(), strict=False)
model.tie_weights()
model.generation_config = read.generation_config
model.save_pretrained(out)
tokenizer.save_pretrained(out)

# What comes back from GGUF looks like a tokenizer of Llama's kind; this is the one that SmolLM2 was published with.
path = Path(out, "tokenizer.json")
content = json.loads(path.read_text())
level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
digits = {"type": "Digits", "individual_digits": True}
content["model"].update(byte_fallback=False, fuse_unk=False, unk_token=None)
content.update(normalizer=None, decoder=level, pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, level]})
path.write_text(json.dumps(content, ensure_ascii=False))
path = Path(out, "tokenizer_config.json")
content = json.loads(path.read_text())
content.update(tokenizer_class="GPT2Tokenizer", eos_token="<|im_end|>", eos_token_id=2, pad_token="<|im_end|>")
for name in ("backend", "is_local", "legacy", "local_files_only", "pad_token_id"):
    content.pop(name, None)
path.write_text(json.dumps(content, indent=2))
"""


LOCKS = tuple(
    REPOSITORY / f"compose/quantizers/{name}/requirements.lock" for name in ("llmcompressor", "gguf", "torch")
)


def key() -> str:
    """Named for all that goes in: the program, the packages that it runs on, the model it reads and this Python."""
    packages = " ".join(wheelhouse.key(lock, llamacpp.PYTHON) for lock in LOCKS)
    return content_key(starter.LOCK, extra=f"{PROGRAM} {packages} {starter.MEMBER} {sys.version}")


def folder() -> Path:
    """The folder with config.json, model.safetensors (269 MB) and the tokenizer; 30 s and 1.3 GB the first time.

    As the libraries leave it: the weights are for their owner alone.
    """
    target = cache_dir() / f"smollm2-hf-{key()}"
    if target.exists():
        return target
    draft = target.with_name(f".partial-smollm2-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    packages = [wheelhouse.site(lock, llamacpp.PYTHON, cache_dir()) for lock in LOCKS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages)), "HF_HUB_OFFLINE": "1"}
    gguf = str(llamacpp.model_file(cache_dir()))
    subprocess.run([sys.executable, "-c", PROGRAM, gguf, str(draft)], check=True, env=environment, capture_output=True)
    draft.rename(target)
    return target


if __name__ == "__main__":
    print(folder())
