"""The folders of engines' sockets, and which hosts can have them; without a Docker engine."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.parts.memory_runtime import MemoryRuntime
from webapp.engines.base import HardwareAllocation
from webapp.foundation import paths
from webapp.inventory.models import OPEN_FACT, Host
from workers.hosts import sockets
from workers.runtime import specs
from workers.runtime.base import ContainerSpec, HostUnreachable, ImageMissing, NameTaken, RuntimeFault, StartRefused

OURS = {
    "KernelVersion": os.uname().release,
    "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    "ID": "memory",
    "DockerRootDir": "/memory",
}
LOCAL = Host(pk=3, endpoint="unix:///var/run/docker.sock")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    return tmp_path


def attempt(name: str) -> Path:
    folder = paths.engine_sockets() / name
    sockets.make(folder, sockets.container_user())
    (folder / "e.sock").touch()
    return folder


def test_only_the_installations_owner_gets_to_a_socket() -> None:
    folder = attempt("1.1.1")
    outer = folder.parent.stat()
    assert (outer.st_mode & 0o777, outer.st_uid) == (0o700, os.geteuid())


@pytest.mark.parametrize(("euid", "user"), [(0, "2000000000:65534"), (1000, "1000:65534")])
def test_an_engine_runs_as_who_connects_and_never_as_root(
    euid: int, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    assert sockets.container_user() == user


def test_leftovers_of_a_killed_worker_go_and_what_is_used_stays() -> None:
    kept = [attempt(name) for name in ("1.2.3", "1.2.4", "2.1.1")]
    gone = [attempt(name) for name in ("1.2.2", "1.1.9", "7.1.1")]
    foreign = paths.engine_sockets() / "a.b.c"
    foreign.mkdir()
    known = {1: (2, 3), 2: (1, 1)}
    now = kept[0].stat().st_mtime
    assert sockets.sweep(known, now + sockets.LEFTOVER_AFTER_S - 5) == 0, "they may be about to be written down"
    assert sockets.sweep(known, now + sockets.LEFTOVER_AFTER_S + 5) == len(gone)
    assert all(folder.is_dir() for folder in (*kept, foreign)) and not any(folder.exists() for folder in gone)


def test_nothing_is_swept_while_the_installation_is_on_hold(db: None) -> None:
    from webapp.inventory.models import Installation
    from workers.controllers.host import orphans

    folder = attempt("7.1.1")
    os.utime(folder, (0, 0))
    Installation.objects.create(is_on_hold=True)
    assert orphans.clean_up_sockets() == 0 and folder.exists()
    Installation.objects.update(is_on_hold=False)
    assert orphans.clean_up_sockets() == 1 and not folder.exists()


def test_a_folder_that_is_none_of_ours_is_never_removed(tmp_path: Path) -> None:
    for address in (str(tmp_path / "e.sock"), "172.31.5.2", "", "/"):
        sockets.remove(address)
    assert tmp_path.is_dir()
    folder = attempt("1.1.1")
    sockets.remove(str(folder / "e.sock"))
    sockets.remove(str(folder / "e.sock"))
    assert not folder.exists() and folder.parent.is_dir()


class Trying(MemoryRuntime):
    """Its containers do with the folder they are given what `way` says."""

    def __init__(self, way: Any) -> None:
        super().__init__()
        self.way, self.tried, self.name = way, 0, ""

    def run(self, spec: ContainerSpec, limit_s: float) -> tuple[int, str]:
        self.tried, self.name = self.tried + 1, spec.name
        assert spec.network is None and spec.user == sockets.container_user()
        [folder] = spec.mounts
        found: tuple[int, str] = self.way(Path(folder))
        return found


def binds(folder: Path) -> tuple[int, str]:
    import socket

    before = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("e.sock")
    finally:
        os.chdir(before)
    return 0, ""


def refuses(_folder: Path) -> tuple[int, str]:
    raise StartRefused("bind source path does not exist: /nowhere")


def lacks_the_image(_folder: Path) -> tuple[int, str]:
    raise ImageMissing("no such image")


WAYS = [
    (binds, ""),
    (lambda folder: (0, ""), "A container's socket does not open here: No such file or directory."),
    (lambda folder: (1, "PermissionError: 13"), "No socket can be made there: PermissionError: 13"),
    (refuses, "bind source path does not exist"),
]


@pytest.mark.parametrize(("way", "why"), WAYS, ids=["works", "not seen here", "cannot make it", "cannot mount it"])
def test_a_host_is_closed_only_when_a_containers_socket_opened_here(way: Any, why: str) -> None:
    found = sockets.find(Trying(way), LOCAL, OURS, "installation", is_due=True)
    assert why in found[OPEN_FACT] and bool(found[OPEN_FACT]) == bool(why)
    assert found[sockets.TRIED_FACT] == str(paths.engine_sockets())
    assert not any(paths.engine_sockets().iterdir()), "nothing is left of the trial"


def test_it_is_tried_once_until_it_is_due_again() -> None:
    runtime = Trying(binds)
    first = sockets.find(runtime, LOCAL, OURS, "installation", is_due=False)
    known = Host(pk=3, endpoint=LOCAL.endpoint, daemon_id="memory@/memory", facts=first)
    assert sockets.find(runtime, known, OURS, "installation", is_due=False) == first
    assert runtime.tried == 1
    sockets.find(runtime, known, OURS, "installation", is_due=True)
    known.daemon_id = "another@/memory"
    sockets.find(runtime, known, OURS, "installation", is_due=False)
    assert runtime.tried == 3


def test_without_the_jobs_image_what_docker_says_decides_and_it_is_tried_later() -> None:
    assert sockets.find(Trying(lacks_the_image), LOCAL, OURS, "installation", is_due=True) == {OPEN_FACT: ""}


def test_a_trial_that_somebody_ended_is_no_answer() -> None:
    facts = {OPEN_FACT: "", sockets.TRIED_FACT: str(paths.engine_sockets())}
    known = Host(pk=3, endpoint=LOCAL.endpoint, daemon_id="memory@/memory", facts=facts)
    assert sockets.find(Trying(lambda _folder: (137, "")), known, OURS, "installation", is_due=True) == {OPEN_FACT: ""}


def test_installations_that_share_an_engine_do_not_end_each_others_trials() -> None:
    runtimes = [Trying(binds), Trying(binds)]
    for runtime, installation in zip(runtimes, ("1b9d6bcd-1", "9f8e7d6c-2"), strict=True):
        sockets.find(runtime, LOCAL, OURS, installation, is_due=True)
    assert runtimes[0].name != runtimes[1].name


@pytest.mark.parametrize("fault", [HostUnreachable, NameTaken])
def test_a_host_that_cannot_be_tried_now_stays_as_it_was_known(fault: type[RuntimeFault]) -> None:
    def silent(_folder: Path) -> tuple[int, str]:
        raise fault("not now")

    facts = {OPEN_FACT: "It did not.", sockets.TRIED_FACT: str(paths.engine_sockets())}
    known = Host(pk=3, endpoint=LOCAL.endpoint, daemon_id="memory@/memory", facts=facts)
    found = sockets.find(Trying(silent), known, OURS, "installation", is_due=True)
    assert found == {OPEN_FACT: "It did not."}


@pytest.mark.parametrize(
    "info",
    [
        {"KernelVersion": "6.10.14-linuxkit"},
        {"MemTotal": 8 * 1024**3},
        {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]},
        {"SecurityOptions": ["name=userns"]},
    ],
    ids=["Docker Desktop", "another machine", "rootless", "userns-remap"],
)
def test_what_cannot_be_is_known_from_what_docker_says(info: dict[str, Any]) -> None:
    runtime = Trying(binds)
    assert sockets.find(runtime, LOCAL, {**OURS, **info}, "installation", is_due=True)[OPEN_FACT]
    assert runtime.tried == 0


@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.7:2376", "ssh://root@10.0.0.7"])
def test_a_host_behind_tcp_or_ssh_is_open(endpoint: str) -> None:
    remote = Host(pk=4, endpoint=endpoint)
    assert sockets.find(Trying(binds), remote, OURS, "installation", is_due=True)[OPEN_FACT]


def test_cards_whose_nodes_belong_to_groups_run_as_their_images_user() -> None:
    assert specs.engine_user(HardwareAllocation("amd"), "1000:65534") == ""
    assert specs.engine_user(HardwareAllocation("nvidia"), "1000:65534") == "1000:65534"
