"""Files of a repository become sets that can be served."""

import pytest

from webapp.catalog.filenames import quantisation_of
from webapp.catalog.variants import group
from webapp.catalog.weight_sets import File


def offered(*names):
    return group(File(name, 100) for name in names)


def test_each_gguf_is_a_variant_and_a_split_set_is_one():
    found = offered(
        "m-Q8_0.gguf", "m-Q4_K_M.gguf", "big/m-BF16-00001-of-00002.gguf", "big/m-BF16-00002-of-00002.gguf", "README.md"
    )
    assert [(v.key, v.quantisation, len(v.files), v.main_file) for v in found.variants] == [
        ("m-Q4_K_M", "Q4_K_M", 1, "m-Q4_K_M.gguf"),
        ("m-Q8_0", "Q8_0", 1, "m-Q8_0.gguf"),
        ("big/m-BF16", "BF16", 2, "m-BF16-00001-of-00002.gguf"),
    ]


@pytest.mark.parametrize(
    ("name", "quantisation"),
    [
        ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q5_k_m.gguf", "Q5_K_M"),
        ("smollm2-135m-instruct-q8_0.gguf", "Q8_0"),
        ("x/DeepSeek-R1-UD-IQ1_S.gguf", "UD-IQ1_S"),
        ("phi-3-mini-4k-instruct-fp16.gguf", "F16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model.gguf", ""),
        ("Q4_0.gguf", "Q4_0"),
    ],
)
def test_a_files_name_tells_its_quantisation(name, quantisation):
    assert quantisation_of(name) == quantisation


def test_safetensors_come_with_what_engines_need_and_nothing_else():
    found = offered(
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
        "config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "LICENSE",
        "consolidated.safetensors", "README.md", "run.py", "pytorch_model.bin", "onnx/model.onnx",
    )  # fmt: skip
    (variant,) = found.variants
    assert [file.name for file in variant.files] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "LICENSE", "chat_template.jinja",
        "config.json", "merges.txt", "model.safetensors.index.json", "tokenizer.json", "tokenizer.model",
    ]  # fmt: skip
    assert (variant.format, variant.main_file, variant.problem) == ("safetensors", "config.json", "")
    assert found.code == ("run.py",)
    assert "1 pickled file left out" in found.notes[0]


def test_a_set_that_is_not_whole_says_what_is_missing():
    assert offered("m-00001-of-00003.gguf").variants[0].problem == "2 of 3 parts are missing."
    assert offered("model-00002-of-00002.safetensors", "config.json").variants[0].problem == "Part 1 of 2 is missing."
    assert "no config.json" in offered("model.safetensors").variants[0].problem


def test_pickles_alone_are_nothing_to_serve():
    found = offered("pytorch_model.bin", "config.json")
    assert found.variants == ()
    assert "Choose a repository with safetensors or GGUF" in found.notes[1]


def test_adapters_projectors_and_importance_matrices_are_no_models():
    assert offered("mmproj-F16.gguf", "imatrix.gguf", "adapter_model.safetensors", "config.json").variants == ()


@pytest.mark.parametrize("name", ["../m.gguf", "/m.gguf", "a/../../m.gguf", "a\\m.gguf", "m\0.gguf"])
def test_a_name_that_could_leave_its_folder_is_passed_over(name):
    assert offered(name).variants == ()


def test_a_repository_of_a_million_names_is_cut():
    assert len(group(File(f"m{number}.gguf", 1) for number in range(20_000)).variants) == 5000
