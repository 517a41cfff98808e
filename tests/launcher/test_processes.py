"""The process table of one machine."""

from pathlib import Path

import pytest

from workers.launcher import processes
from workers.launcher.progress import LauncherError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    return tmp_path


def settings(**environ: str) -> processes.RunSettings:
    return processes.RunSettings.from_environ(environ, "unix:///x/docker.sock", "/x/valkey-server")


def test_the_broker_is_first_and_waited_for() -> None:
    table = processes.table(settings(MODELYARD_GATEWAY_PROCESSES="1"), {})
    assert [spec.name for spec in table] == ["valkey", "web", "gateway", "worker", "beat", "watcher"]
    assert all("valkey" in spec.after or spec.name in ("valkey", "gateway") for spec in table)


def test_a_broker_elsewhere_is_not_started() -> None:
    table = processes.table(settings(MODELYARD_REDIS_URL="redis://elsewhere/0"), {})
    assert "valkey" not in [spec.name for spec in table]


def test_the_broker_has_no_port_and_a_private_socket() -> None:
    command = processes.table(settings(), {})[0].command
    assert command[command.index("--port") + 1] == "0"
    assert command[command.index("--unixsocketperm") + 1] == "600"


def test_as_many_gateways_as_asked_for() -> None:
    table = processes.table(settings(MODELYARD_GATEWAY_PROCESSES="3"), {})
    gateways = [spec for spec in table if spec.name.startswith("gateway")]
    assert [spec.command[-2:] for spec in gateways] == [["--index", "0"], ["--index", "1"], ["--index", "2"]]
    assert gateways[0].env is not None and gateways[0].env["MODELYARD_GATEWAY_PROCESSES"] == "3"


@pytest.mark.parametrize("number", ["0", "-1", "many", "1000"])
def test_a_senseless_number_of_gateways_is_refused_by_name(number: str) -> None:
    with pytest.raises(LauncherError, match="MODELYARD_GATEWAY_PROCESSES"):
        settings(MODELYARD_GATEWAY_PROCESSES=number)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"MODELYARD_BIND": "0.0.0.0", "MODELYARD_PORT": "9000"}, "http://127.0.0.1:9000"),
        ({"MODELYARD_BIND": "::"}, "http://[::1]:8000"),
        ({"MODELYARD_TLS_CERT": "/x.pem"}, "https://127.0.0.1:8000"),
        ({"MODELYARD_URL": "https://yard.example"}, "https://yard.example"),
    ],
)
def test_the_address_follows_the_settings(environ: dict[str, str], url: str) -> None:
    assert settings(**environ).url == url


def test_a_state_folder_too_deep_for_a_socket_is_told(tmp_path: Path) -> None:
    assert processes.check_state_dir(Path("/srv/modelyard")) is None
    assert "MODELYARD_STATE_DIR" in str(processes.check_state_dir(tmp_path / ("x" * 100)))
