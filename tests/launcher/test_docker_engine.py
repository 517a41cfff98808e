"""Which engine is used, and what people are told where there is none."""

from pathlib import Path

import pytest

from workers.launcher import docker_engine, own_dockerd, packages
from workers.launcher.progress import LauncherError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state folder on a machine without any engine; what would change the machine is noted instead."""
    monkeypatch.setattr(docker_engine, "DEFAULT_SOCKET", tmp_path / "no.sock")
    monkeypatch.setattr(docker_engine.shutil, "which", lambda name: None)
    monkeypatch.setattr(packages, "has_systemd", lambda: False)
    monkeypatch.setattr(packages, "is_debian_like", lambda: True)
    return tmp_path


def test_who_is_not_root_gets_the_exact_commands(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(packages, "has_systemd", lambda: True)
    with pytest.raises(LauncherError) as refusal:
        docker_engine.ensure_engine(bare, environ={})
    words = str(refusal.value)
    for command in (
        "sudo apt-get install -y --no-install-recommends docker.io iptables",
        "sudo systemctl enable --now docker",
        "sudo usermod -aG docker $USER",
    ):
        assert command in words


def test_root_elsewhere_than_debian_is_sent_to_dockers_own_pages(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "is_debian_like", lambda: False)
    with pytest.raises(LauncherError, match="neither Debian nor Ubuntu"):
        docker_engine.ensure_engine(bare, environ={})


@pytest.mark.parametrize(("systemd", "is_ours"), [(True, False), (False, True)])
def test_root_on_debian_installs_and_starts_one(
    bare: Path, monkeypatch: pytest.MonkeyPatch, systemd: bool, is_ours: bool
) -> None:
    done: list[str] = []
    monkeypatch.setattr(docker_engine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "has_systemd", lambda: systemd)
    monkeypatch.setattr(packages, "install", lambda names, *_: done.append(f"install {' '.join(names)}"))
    monkeypatch.setattr(own_dockerd, "start", lambda *_: done.append("our dockerd"))
    monkeypatch.setattr(own_dockerd, "start_by_systemd", lambda *_: done.append("systemctl"))
    engine = docker_engine.ensure_engine(bare, environ={})
    assert engine.is_ours is is_ours
    assert done == ["install docker.io iptables iproute2", "systemctl" if systemd else "our dockerd"]


def test_a_socket_that_refuses_this_user_names_the_group(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "no.sock").touch()
    monkeypatch.setattr(docker_engine.os, "access", lambda *_: False)
    with pytest.raises(LauncherError, match="usermod -aG docker"):
        docker_engine.find_engine(bare, environ={})


def test_a_docker_host_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"DOCKER_HOST is unix:///no/such\.sock"):
        docker_engine.find_engine(tmp_path, environ={"DOCKER_HOST": "unix:///no/such.sock"})


def test_a_path_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="MODELYARD_STATE_DIR"):
        own_dockerd.start(tmp_path / ("x" * 100))


def test_a_pid_file_with_somebody_elses_number_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "dockerd.pid").write_text("1")
    assert own_dockerd.running_pid(tmp_path) is None
    assert not own_dockerd.stop(tmp_path)
