"""What names of files tell: whether there is a model in it, and which."""

import pytest

from webapp.catalog.filenames import is_part, model_name
from webapp.catalog.variants import group
from webapp.catalog.weight_sets import File


@pytest.mark.parametrize(
    "name",
    [
        "Qwen3-8B-imatrix-Q4_K_M.gguf", "imatrix-7B.gguf", "prompt-optimizer-7B-Q8_0.gguf", "optimizer.gguf",
        "adapter_model-merged-7B-Q4_0.gguf", "prompt-optimizer.safetensors", "my_adapter_model.safetensors",
        "Model-7B.GGUF", "vocabulary-7B-Q4_0.gguf", "lora-merged-7B-Q4_0.gguf", "training_args-7B.gguf",
    ],
)  # fmt: skip
def test_a_model_may_have_these_words_in_its_name(name):
    found = group([File(name, 100), File("config.json", 10)])
    assert [one.problem for one in found.variants] == [""]


@pytest.mark.parametrize(
    "name",
    [
        "imatrix.gguf", "imatrix_unsloth.gguf", "Qwen3-8B-imatrix.gguf", "Qwen3-8B.imatrix.gguf", "mmproj-F16.gguf",
        "gemma-3-4b-it-mmproj-Q8_0.gguf", "ggml-vocab-llama-bpe.gguf", "Tiny-1B-v1.0-F16-LoRA.gguf",
        "adapter_model.safetensors", "adapter_model-00001-of-00002.safetensors", "optimizer.safetensors",
        "optimizer.safetensors.index.json", "training_args.bin", "adapter_model.bin",
    ],
)  # fmt: skip
def test_what_belongs_to_a_model_is_none(name):
    assert is_part(name)


def header(**words):
    return {f"general.{key}": value for key, value in words.items()}


@pytest.mark.parametrize(
    ("metadata", "file", "place", "name"),
    [
        # The header's own parts, in the order of the convention.
        (header(basename="SmolLM2", size_label="135M", finetune="Instruct"), "x.gguf", "", "SmolLM2-135M-Instruct"),
        (header(basename="Mixtral", size_label="8x7B", version="v0.1"), "x.gguf", "o/Y-GGUF", "Mixtral-8x7B-v0.1"),
        (header(basename="Llama 3", size_label="8B", finetune="Some/Tune"), "x.gguf", "", "Llama-3-8B-Some-Tune"),
        # Its publisher's spelling where the name of the file says the same.
        (
            header(basename="smollm2", size_label="135M", finetune="8k-lc100k-mix1-ep2"),
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "",
            "SmolLM2-135M-Instruct",
        ),
        (header(basename="Llama 3", size_label="8B"), "Meta-Llama-3-8B-Q4_K_M.gguf", "", "Meta-Llama-3-8B"),
        (header(basename="Foo", size_label="7B"), "model-7B-Q4_0.gguf", "", "Foo-7B"),
        (header(basename="SmolLM2", size_label="1.7B"), "smollm2-135M-Q4_0.gguf", "", "SmolLM2-1.7B"),
        (header(basename="SmolLM2", size_label="135M", finetune="Chat"), "smollm2-135m.gguf", "", "SmolLM2-135M-Chat"),
        # The file's name, without quantisation, shard and ending.
        ({}, "Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "", "Qwen2.5-0.5B-Instruct"),
        (header(name="qwen"), "Qwen3-30B-A3B-UD-Q4_K_XL-00001-of-00002.gguf", "", "Qwen3-30B-A3B"),
        ({}, "Mixtral-8x7B-v0.1-KQ2.gguf", "", "Mixtral-8x7B-v0.1-KQ2"),
        ({}, "Tiny-1B.Q8_0.GGUF", "", "Tiny-1B"),
        # A name that says no size comes after one that does.
        (header(name="Tiny"), "Tiny-Q8_0.gguf", "org/Tiny-1B-GGUF", "Tiny-1B"),
        (header(name="Tiny"), "ggml-model-q4_0.gguf", "", "Tiny"),
        ({}, "Q4_0.gguf", "org/Tiny-GGUF", "Tiny"),
        ({}, "Q4_0.gguf", "", "Q4_0"),
        # What a name must not hold.
        (header(name="Ti\x1b[31mny\0\n\u202eModel"), "m.gguf", "", "Ti [31mny  Model"),
        (header(basename="Ti\nny", size_label="1B\0"), "m.gguf", "", "Ti-ny-1B"),
    ],
)
def test_a_models_name_follows_the_convention(metadata, file, place, name):
    assert model_name(metadata, file, place) == name
