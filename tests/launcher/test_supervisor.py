"""The supervisor over real processes: order, backoff, endings, and that nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.launcher.waiting import eventually, lives
from workers.launcher.child import reap_strangers
from workers.launcher.supervisor import backoff_s

Start = Callable[..., subprocess.Popen[str]]
FOREVER = "exec sleep 1000"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor over the rows given; whatever is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*rows: dict) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.launcher.supervised", str(tmp_path), json.dumps(rows)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pids(folder: Path, name: str) -> list[int]:
    """The process ids that programs wrote with `echo $$ >> NAME.pids`."""
    path = folder / f"{name}.pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def all_ready(folder: Path) -> dict:
    eventually((folder / "all-ready.json").exists, "all processes are ready")
    return json.loads((folder / "all-ready.json").read_text())


@pytest.mark.parametrize(
    ("deaths", "pause_s"), [(0, 0.2), (1, 0.4), (2, 0.8), (5, 6.4), (7, 25.6), (8, 30.0), (1000, 30.0)]
)
def test_backoff_doubles_up_to_thirty_seconds(deaths: int, pause_s: float) -> None:
    assert backoff_s(deaths) == pytest.approx(pause_s)


def test_a_process_starts_only_after_what_it_needs_is_ready(start: Start, tmp_path: Path) -> None:
    start(
        {"name": "site", "after": ["store"], "shell": f"test -e open && echo right > order; {FOREVER}"},
        {"name": "store", "shell": f"sleep 0.3; touch open; {FOREVER}", "ready_file": "open"},
    )
    all_ready(tmp_path)
    assert eventually((tmp_path / "order").exists, "the second process ran")


def test_a_ready_line_counts_as_ready(start: Start, tmp_path: Path) -> None:
    start({"name": "worker", "shell": f"echo starting; echo celery@here ready.; {FOREVER}", "ready_line": r"\bready\b"})
    assert all_ready(tmp_path)["worker"]["ready"]


def test_what_dies_is_started_again_with_growing_pauses(start: Start, tmp_path: Path) -> None:
    start({"name": "weak", "shell": "date +%s.%N >> starts; touch up; sleep 0.1", "ready_file": "up"})
    starts = tmp_path / "starts"
    eventually(lambda: starts.exists() and len(starts.read_text().split()) >= 4, "four starts")
    moments = [float(word) for word in starts.read_text().split()[:4]]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    for gap, least_s in zip(gaps, (0.3, 0.5, 0.9), strict=True):
        assert gap >= least_s, gaps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_reverse_order(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    def shell(name: str) -> str:
        return f"trap 'sleep 0.2; echo {name} >> ends; exit 0' TERM; touch {name}; while :; do sleep 0.05; done"

    supervisor = start(
        {"name": "store", "shell": shell("store"), "ready_file": "store"},
        {"name": "site", "shell": shell("site"), "ready_file": "site", "after": ["store"]},
        {"name": "door", "shell": shell("door"), "ready_file": "door", "after": ["site"]},
    )
    states = all_ready(tmp_path)
    supervisor.send_signal(number)
    assert supervisor.wait(120) == 0
    assert (tmp_path / "ends").read_text().split() == ["door", "site", "store"]
    assert not any(lives(state["pid"]) for state in states.values())


def test_who_does_not_end_in_its_time_is_killed(start: Start, tmp_path: Path) -> None:
    supervisor = start({"name": "deaf", "shell": "trap '' TERM; while :; do sleep 0.1; done", "stop_s": 0.5})
    pid = all_ready(tmp_path)["deaf"]["pid"]
    began = time.monotonic()
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(120) == 0
    assert time.monotonic() - began > 0.4, "it is given its time"
    assert not lives(pid)


def test_a_second_signal_kills_at_once(start: Start, tmp_path: Path) -> None:
    supervisor = start(
        {"name": "deaf", "shell": "trap 'touch asked' TERM; while :; do sleep 0.1; done", "stop_s": 3600}
    )
    all_ready(tmp_path)
    supervisor.send_signal(signal.SIGINT)
    eventually((tmp_path / "asked").exists, "the first signal was passed on")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(120) == 0


def test_killing_the_supervisor_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    # The grandchild ignores SIGTERM and is nobody's direct child: only the guard can end it.
    grandchild = "(trap '' TERM; sh -c 'echo $$ >> deep.pids; while :; do sleep 0.1; done') &"
    supervisor = start(
        {"name": "pool", "shell": f"{grandchild} echo $$ >> pool.pids; wait"},
        {"name": "plain", "shell": f"echo $$ >> plain.pids; {FOREVER}"},
    )
    all_ready(tmp_path)
    names = ("deep", "pool", "plain")
    family = [eventually(lambda n=name: pids(tmp_path, n), f"{name} runs")[0] for name in names]
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not any(lives(pid) for pid in family), "nothing of it lives")


def test_a_dead_process_takes_its_group_along(start: Start, tmp_path: Path) -> None:
    start({"name": "pool", "shell": "sleep 1000 & echo $! >> deep.pids; echo $$ >> pool.pids; wait"})
    all_ready(tmp_path)
    child, parent = (eventually(lambda n=name: pids(tmp_path, n), f"{name} runs")[0] for name in ("deep", "pool"))
    os.kill(parent, signal.SIGKILL)
    eventually(lambda: not lives(child), "its child ended too")
    eventually(lambda: len(pids(tmp_path, "pool")) == 2, "it was started again")


def test_orphans_are_reaped(start: Start, tmp_path: Path) -> None:
    supervisor = start({"name": "forker", "shell": f"sh -c 'sleep 1000 & echo $! >> orphan.pids'; {FOREVER}"})
    orphan = eventually(lambda: pids(tmp_path, "orphan"), "the orphan runs")[0]

    def parent() -> int:
        return int(Path(f"/proc/{orphan}/stat").read_text().rsplit(")", 1)[1].split()[1])

    eventually(lambda: parent() == supervisor.pid, "the supervisor has taken it over")
    os.kill(orphan, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{orphan}").exists(), "no zombie is left")


def test_three_deaths_before_ready_stop_everything_with_the_last_lines(start: Start, tmp_path: Path) -> None:
    supervisor = start(
        {"name": "good", "shell": f"echo $$ >> good.pids; {FOREVER}"},
        {"name": "broken", "shell": "echo no module named webapp; exit 3", "ready_file": "never"},
    )
    _, complaint = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 1
    assert "broken ended with exit code 3 3 times" in complaint
    assert "no module named webapp" in complaint
    assert not any(lives(pid) for pid in pids(tmp_path, "good"))


def test_who_never_gets_ready_is_named(start: Start) -> None:
    supervisor = start({"name": "slow", "shell": FOREVER, "ready_file": "never", "ready_limit_s": 0.5})
    _, complaint = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 1
    assert "slow is not ready after" in complaint


def test_a_program_that_does_not_exist_ends_the_start(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from workers.launcher.logs import Logs;"
        "from workers.launcher.supervisor import ProcessSpec, Supervisor;"
        "s = Supervisor([ProcessSpec('gone', ['/no/such/program'])], Logs(Path(sys.argv[1]), ['gone'], echo=False));"
        "asyncio.run(s.run())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "gone cannot be started" in done.stderr


def test_a_second_one_on_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    first = start({"name": "one", "shell": FOREVER})
    all_ready(tmp_path)
    second = start({"name": "one", "shell": FOREVER})
    _, complaint = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"already runs here (process {first.pid}" in complaint
    assert "MODELYARD_STATE_DIR" in complaint
    assert first.poll() is None


def test_an_idle_supervisor_does_not_wake_up(start: Start, tmp_path: Path) -> None:
    supervisor = start({"name": "one", "shell": FOREVER})
    all_ready(tmp_path)

    def switches() -> int:
        text = Path(f"/proc/{supervisor.pid}/status").read_text()
        return int(text.split("voluntary_ctxt_switches:")[1].split()[0])

    def settled() -> bool:
        before = switches()
        time.sleep(0.3)
        return switches() == before

    eventually(settled, "the work of starting is over")
    before = switches()
    time.sleep(1)
    assert switches() - before <= 1


def test_lines_reach_console_and_file_with_their_process(start: Start, tmp_path: Path) -> None:
    supervisor = start({"name": "one", "shell": f"printf 'hello\\nhalf'; {FOREVER}"})
    all_ready(tmp_path)
    log = tmp_path / "log" / "one.log"
    eventually(lambda: log.exists() and "hello" in log.read_text(), "the line is in the file")
    supervisor.send_signal(signal.SIGINT)
    output, _ = supervisor.communicate(timeout=120)
    assert "one | hello" in output
    assert log.read_text() == "hello\nhalf\n"


def test_a_failed_helper_stops_everything(start: Start, tmp_path: Path) -> None:
    supervisor = start(
        {"name": "one", "shell": f"echo $$ >> one.pids; touch up; {FOREVER}", "ready_file": "up"},
        {"name": "beside", "shell": "while ! test -e up; do sleep 0.05; done; exit 7"},
    )
    _, complaint = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 1
    assert "beside failed with 7" in complaint
    assert not any(lives(pid) for pid in pids(tmp_path, "one"))


def test_a_helper_ends_with_the_rest(start: Start, tmp_path: Path) -> None:
    supervisor = start(
        {"name": "one", "shell": FOREVER},
        {"name": "beside", "shell": f"sleep 1000 & echo $$ $! >> beside.pids; {FOREVER}"},
    )
    all_ready(tmp_path)
    family = eventually(lambda: pids(tmp_path, "beside"), "the helper runs")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(120) == 0
    assert not any(lives(pid) for pid in family)


def test_the_reaper_takes_strangers_and_leaves_known_children_their_status() -> None:
    known, stranger = (os.fork() or os._exit(7) for _ in range(2))
    for pid in (known, stranger):
        eventually(lambda pid=pid: not lives(pid), "it ended")
    reap_strangers({known})
    assert not Path(f"/proc/{stranger}").exists()
    assert os.waitstatus_to_exitcode(os.waitpid(known, 0)[1]) == 7


def test_the_supervisors_helper_is_known_to_the_reaper(start: Start) -> None:
    # Many orphans end around the helper's own end, so that the reaper runs while its status is still to be fetched.
    shell = "for i in 1 2 3 4 5 6 7 8 9; do sh -c 'sleep 0.05 &'; done; sleep 0.05; exit 7"
    _, complaint = start({"name": "one", "shell": FOREVER}, {"name": "beside", "shell": shell}).communicate(timeout=120)
    assert "beside failed with 7" in complaint
