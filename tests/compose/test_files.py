"""The files of compose/ by themselves: what no registry here lets us run is at least held together."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"


def test_grafanas_provisioning_names_what_is_there() -> None:
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yml").read_text())
    [datasource] = source["datasources"]
    services = yaml.safe_load((COMPOSE / "docker-compose.yml").read_text())["services"]
    assert datasource["url"].removeprefix("$") in services["grafana"]["environment"]
    provider = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/modelyard.yml").read_text())["providers"][0]
    assert any(mount.split(":")[1] == provider["options"]["path"] for mount in services["grafana"]["volumes"])
    for path in (COMPOSE / "grafana/dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids)) and board["uid"]
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == datasource["uid"]
            assert panel["targets"] and panel["title"]


@pytest.fixture
def state() -> Iterator[Path]:
    # Sockets will stand in it, and the path of a socket may not be long.
    with tempfile.TemporaryDirectory(prefix="yard-") as folder:
        prepare(Path(folder, "state"))
        yield Path(folder, "state")


def prepare(folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    socket = folder.parent / "docker.sock"
    socket.touch()
    command = [sys.executable, str(COMPOSE / "setup.py"), "--url", "https://models.example.org", "--state", str(folder)]
    owner = ["--uid", str(folder.parent.stat().st_uid), "--gid", str(folder.parent.stat().st_gid)]
    return subprocess.run(
        [*command, *owner, "--docker-socket", str(socket), *more], capture_output=True, text=True, check=not more
    )


def test_setup_makes_private_secrets_once(state: Path) -> None:
    folder = state / "compose/secrets"
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert len(before) == 5 and len(set(before.values())) == 5
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert state.stat().st_mode & 0o777 == 0o700 and folder.stat().st_mode & 0o777 == 0o700
    assert (state / "compose/tls/key.pem").stat().st_mode & 0o777 == 0o600
    prepare(state)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert before["postgres_password"] in before["database_url"]


def test_no_secret_is_in_the_env_file_and_every_name_compose_asks_for_is(state: Path) -> None:
    text = (state / "compose/modelyard.env").read_text()
    for secret in (state / "compose/secrets").iterdir():
        assert secret.read_text() not in text
    given = {line.partition("=")[0] for line in text.splitlines()}
    asked = set(re.findall(r"\$\{([A-Z_]+)\}", (COMPOSE / "docker-compose.yml").read_text()))
    assert asked <= given


def test_the_configurations_have_nothing_left_to_fill_in(state: Path) -> None:
    for name in ("nginx.conf", "prometheus.yml"):
        text = (state / "compose" / name).read_text()
        assert not re.search(r"^[^#]*@[A-Z_]+@", text, re.M)
    assert "listen 443 ssl" in (state / "compose/nginx.conf").read_text()


def test_an_address_without_tls_is_refused(tmp_path: Path) -> None:
    done = prepare(tmp_path / "state", "--url", "http://models.example.org")
    assert done.returncode == 1 and "https" in done.stderr


def test_prometheus_own_tool_accepts_the_configuration(state: Path, tmp_path: Path) -> None:
    text = (state / "compose/prometheus.yml").read_text()
    (tmp_path / "token").write_text("t")
    text = text.replace("/etc/modelyard/alerts.yml", str(COMPOSE / "prometheus/alerts.yml"))
    (tmp_path / "p.yml").write_text(text.replace("/run/secrets/metrics_token", str(tmp_path / "token")))
    done = subprocess.run(["promtool", "check", "config", str(tmp_path / "p.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
