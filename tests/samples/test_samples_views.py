"""Charts: what they show, who may see them, and the same numbers as a table and by the API."""

import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from webapp.samples import charts, services
from webapp.samples.services import Reading
from webapp.usage import services as usage

pytestmark = pytest.mark.django_db

GIB = 1024**3


@pytest.fixture
def measured(host, deployment, make_record):
    """An hour of samples of the host, a GPU and the replica, and a few requests."""
    replica = deployment.replicas.get()
    gpu = host.accelerators.first()
    now = timezone.now()
    for minutes in range(60):
        services.record(
            [
                Reading("host", host.pk, {"cpu_cores": 3.5, "memory_bytes": 12.0 * GIB}),
                Reading("accelerator", gpu.pk, {"busy_percent": 40.0, "gpu_memory_bytes": 6.0 * GIB}),
                Reading("replica", replica.pk, {"cpu_cores": 1.25, "memory_bytes": 2.0 * GIB, "mapped_bytes": 1e8}),
            ],
            now - timedelta(minutes=minutes),
        )
    services.thin_out(now)
    at = (now - timedelta(minutes=3)).timestamp()
    usage.accept([make_record(deployment=deployment.pk, at=at, completion_tokens=600) for _ in range(2)])
    return replica


def titles(found):
    return [chart.title for chart in found]


def test_a_deployment_shows_traffic_and_replicas(ada, deployment, measured, django_assert_num_queries):
    with django_assert_num_queries(4):
        found = charts.of(ada, "deployment", deployment.pk, "1h")
    assert titles(found) == ["Token throughput", "Requests", "Time to first token", "CPU", "Memory"]
    tokens = found[0].lines[1]
    assert sum(value * found[0].step_s for value in tokens.values) == pytest.approx(1200)
    assert [line.label for line in found[4].lines] == ["#1", "#1 page cache (mmap)"]
    assert {value for value in found[3].lines[0].values if value is not None} == {1.25}


def test_a_host_shows_its_gpus_and_where_the_scale_ends(eve, host, measured):
    found = {chart.title: chart for chart in charts.of(eve, "host", host.pk, "1h")}
    assert list(found) == ["CPU", "Memory", "GPU utilisation", "GPU memory"]
    assert (found["CPU"].most, found["Memory"].most) == (16, 64 * GIB)
    assert found["GPU utilisation"].lines[0].label == "GPU 0"


@pytest.mark.parametrize(("window", "points"), [("1h", 360), ("24h", 720), ("30d", 720)])
def test_every_window_has_its_points(ada, deployment, measured, window, points):
    found = {chart.title: chart for chart in charts.of(ada, "deployment", deployment.pk, window)}
    assert len(found["CPU"].moments) == points
    assert any(value == 1.25 for value in found["CPU"].lines[0].values)
    assert len(found["Token throughput"].lines[1].values) in (60, 720)
    assert sum(value > 0 for value in found["Token throughput"].lines[1].values) == 1


def test_what_was_not_measured_is_a_gap(ada, deployment, measured):
    cpu = charts.of(ada, "deployment", deployment.pk, "1h")[3]
    assert cpu.lines[0].values.count(None) >= 240


@pytest.mark.parametrize("kind", ["deployment", "replica"])
def test_charts_are_for_the_team(client, ada, bob, eve, deployment, measured, kind):
    number = deployment.pk if kind == "deployment" else measured.pk
    for person, status in ((ada, 200), (bob, 200), (eve, 404)):
        client.force_login(person)
        assert client.get(f"/charts/{kind}/{number}/").status_code == status
        assert client.get(f"/api/v1/samples?subject={kind}:{number}").status_code == status


@pytest.mark.parametrize(
    "path", ["/charts/host/4711/", "/charts/deployment/4711/", "/charts/planet/1/", "/charts/host/1/?range=century"]
)
def test_what_is_not_there_is_404(client, ada, path):
    client.force_login(ada)
    assert client.get(path).status_code == 404


def test_the_table_says_the_same_as_the_chart(client, ada, deployment, measured):
    client.force_login(ada)
    text = client.get(f"/charts/deployment/{deployment.pk}/").content.decode()
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text).group(1))
    assert [chart["title"] for chart in data["charts"]][3:] == ["CPU", "Memory"]
    assert "2.0 GiB" in text
    page = text.split('id="content"')[1].split("</main>")[0]
    assert page.count("<tbody>") == 5
    assert all(part.count("<tr>") <= 61 for part in page.split("<table")[1:])


def test_the_part_alone_comes_for_htmx(client, ada, host, measured):
    client.force_login(ada)
    text = client.get(f"/charts/host/{host.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert text.startswith('<section id="charts-host-')
    assert "<html" not in text


def test_an_empty_chart_says_so(client, ada, deployment):
    client.force_login(ada)
    assert "No data in this time range" in client.get(f"/charts/deployment/{deployment.pk}/").content.decode()


@pytest.mark.parametrize("subject", ["host", "host:", "host:x", "host:-1", "host:" + "9" * 30])
def test_the_api_says_how_to_write_a_subject(as_caller, ada, subject):
    assert as_caller(ada).get(f"/api/v1/samples?subject={subject}").status_code == 422


def test_the_cost_does_not_grow_with_replicas(ada, make_deployment, django_assert_num_queries):
    made = make_deployment("wide", replicas=20)
    services.record(
        [Reading("replica", replica.pk, {"cpu_cores": 1.0}) for replica in made.replicas.all()], timezone.now()
    )
    with django_assert_num_queries(4):
        found = charts.of(ada, "deployment", made.pk, "1h")
    assert len(found[0].lines) == charts.MOST_SUBJECTS
