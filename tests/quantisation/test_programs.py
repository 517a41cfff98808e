"""What the quantisers' programs share, run here without their tools."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest

from webapp.foundation.paths import REPOSITORY
from webapp.quantisation import golden

FOLDER = REPOSITORY / "compose/quantizers"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return program("common/steps.py", monkeypatch)


def program(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program's module, as its container would import it."""
    file = FOLDER / path
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    return module


def test_a_tools_words_reach_the_log_and_its_failure_is_one_line(steps: ModuleType, capfd: Any) -> None:
    heard: list[str] = []
    argv = [sys.executable, "-c", "print('loading'); print('{\"step\": \"done\"}'); raise SystemExit(3)"]
    with pytest.raises(steps.StepError, match="exit code 3"):
        steps.run(argv, heard.append)
    said = capfd.readouterr()
    assert heard == ["loading", '{"step": "done"}']
    # What a tool prints is never taken for a line of ours.
    assert (said.out, said.err.splitlines()) == ("", ["loading", ' {"step": "done"}'])


def test_of_a_bar_that_is_drawn_anew_two_a_second_are_kept(steps: ModuleType, capfd: Any) -> None:
    now = [0.0]
    echo = steps.Echo(clock=lambda: now[0])
    for percent in range(100):
        now[0] += 0.01
        echo.say(f"Calibrating: {percent}%|{'█' * (percent // 10)}▌ | {percent}/100")
    echo.say("saved")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[-1] == "saved"


def test_answers_come_home_whole_between_the_lines_of_a_chatty_library(
    steps: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capfd: Any
) -> None:
    monkeypatch.setitem(sys.modules, "golden", golden)
    asked = [
        {"prompt": "1?", "way": "contains", "expected": "1,[2"},
        {"prompt": "2?", "way": "equals", "expected": "x"},
    ]
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(asked))
    child = (
        "import sys; sys.path.insert(0, sys.argv[1]); import steps\n"
        "print('slot is', end='', flush=True); steps.answer('one: 1,[2,\\nthree 3,')\n"
        "print('and on', end='', flush=True); steps.answer('é\u2028')\n"
    )
    found = steps.ask([sys.executable, "-c", child, str(FOLDER / "common")], {"prompts": str(file)})
    assert (found["passed"], found["total"], found["missed"][0]["answer"]) == (1, 2, "é\u2028")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["step"], line["done"], line["total"]) for line in lines][-1] == ("prompts", 2, 2)


def test_a_counter_is_told_at_once_and_a_comma_at_the_end_of_a_read_cuts_nothing_else(steps: ModuleType) -> None:
    said = steps.pieces(iter([b"[1]8.5,[2]", b"8.6,", b'\nmodelyard-result {"speed": 1,', b'"load_s": 2}\n']))
    assert list(said) == ["[1]8.5", "[2]8.6", 'modelyard-result {"speed": 1,"load_s": 2}']
