"""What the dashboards and alert rules ask Prometheus for is what it is told: names, labels and states."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests.operations.test_metrics_and_health import served
from tests.stage import STATE
from webapp.gateway.ledger import records
from webapp.gateway.ledger.metrics import Metrics
from webapp.gateway.process.state import State
from webapp.operations import heartbeats, metrics
from webapp.operations.models import Backup, BackupState
from webapp.usage.services import accept

pytestmark = pytest.mark.django_db
COMPOSE = Path(__file__).resolve().parents[2] / "compose"
# Told only while a broker answers; the suite of compose/ asks a real Prometheus for it.
NEEDS_A_BROKER = {"modelyard_queue_messages"}


@pytest.fixture
def gateway() -> Iterator[None]:
    """The private socket of one gateway process that has served, refused and failed something."""
    counted = Metrics()
    counted.tallies["research/smollm2"].requests["chat/completions", 502, records.ENGINE_FAILED] = 1
    counted.tallies["research/smollm2"].count_answer(0.02)
    counted.tallies["research/smollm2"].count_tokens(10, 20)
    counted.refused["invalid_key"] = 1
    journal = SimpleNamespace(recorded=0, dropped=0, backlog_bytes=lambda: 0)
    replicas = SimpleNamespace(opened_connections=lambda: 0)
    state = SimpleNamespace(
        ledger=SimpleNamespace(metrics=counted, journal=journal),
        connections=[],
        inference=SimpleNamespace(admission=SimpleNamespace(bodies=SimpleNamespace(held_bytes=0))),
        web=SimpleNamespace(bodies=SimpleNamespace(held_bytes=0)),
        table=SimpleNamespace(replicas=replicas),
        poller=SimpleNamespace(polled_at=0.0),
    )
    (STATE / "run").mkdir(exist_ok=True)
    end = served(STATE / "run" / "gateway-0.metrics.sock", State.render_metrics(cast(State, state)))
    yield
    end()


@pytest.fixture
def told(deployment: Any, ada: Any, gateway: None) -> list[Any]:
    """Every sample of an installation where each kind of thing happened once."""
    heartbeats.beat("worker")
    now = timezone.now()
    Backup.objects.create(state=BackupState.DONE, started_at=now, ended_at=now)
    record = {"id": "1" * 32, "at": timezone.now().timestamp(), "user": ada.pk, "team": deployment.team_id}
    record |= {"status": 200, "deployment": deployment.pk, "outcome": "ok", "prompt_tokens": 7, "completion_tokens": 9}
    accept([{**record, "endpoint": "x"}])
    text = metrics.render().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def expressions() -> dict[str, str]:
    """Every question, by where it stands."""
    found = {}
    for path in sorted((COMPOSE / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for number, target in enumerate(panel["targets"]):
                found[f"{path.stem}: {panel['title']} {number}"] = target["expr"]
    for group in yaml.safe_load((COMPOSE / "prometheus/alerts.yml").read_text())["groups"]:
        found |= {f"alert {rule['alert']}": rule["expr"] for rule in group["rules"]}
    return found


def test_whatever_is_asked_for_is_told(told: list[Any]) -> None:
    names = {sample.name for sample in told} | NEEDS_A_BROKER
    labels = {(sample.name, *pair) for sample in told for pair in sample.labels.items()}
    wrong = []
    asked = expressions()
    assert len(asked) > 30
    for place, expression in asked.items():
        for name, chosen in re.findall(r"\b(modelyard_\w+)(?:\{([^}]*)\})?", expression):
            if name not in names:
                wrong.append((place, name))
            # `=` names one value, which must exist; `=~` and `!~` are patterns.
            for label, value in re.findall(r'(\w+)="([^"]*)"', chosen):
                if (name, label, value) not in labels:
                    wrong.append((place, f"{name}{{{label}={value}}}"))
    assert not wrong


def test_what_is_summed_by_a_label_has_that_label(told: list[Any]) -> None:
    labels = {sample.name: set(sample.labels) for sample in told}
    for place, expression in expressions().items():
        for kept, inner in re.findall(r"sum by \(([^)]*)\) \((?:rate|increase)\((modelyard_\w+)", expression):
            wanted = {label.strip() for label in kept.split(",")}
            assert wanted <= labels[inner], (place, wanted - labels[inner])
