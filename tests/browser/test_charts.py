"""Charts in a real browser: drawn without a violation, alive, readable in light, dark and narrow, and as numbers."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}

TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter((part) => part.getBoundingClientRect().right > window.innerWidth + 1)
    .filter((part) => !part.closest(".table-responsive, dialog"))
    .map((part) => `${part.tagName}.${part.className.baseVal ?? part.className}`)"""

# Two hours of samples and a month of requests for a deployment that a test has made.
PAST = """
import math, random, time, uuid
from datetime import timedelta
from django.utils import timezone
from webapp.accounts.models import ApiKey, Team, User
from webapp.accounts.services import create_key
from webapp.deployments.models import Deployment
from webapp.inventory.models import Host
from webapp.samples import services as samples
from webapp.samples.services import Reading
from webapp.usage import services as usage
random.seed(7)
GIB = 1024**3
ada, team, now = User.objects.get(username="ada"), Team.objects.get(slug="research"), timezone.now()
deployment, host = Deployment.objects.get(pk={pk}), Host.objects.get()
gpu, replicas = host.accelerators.first(), list(deployment.replicas.all())
for second in range(0, 3600, 10):
    wave = 1 + math.sin(second / 300)
    gpu_values = {{"busy_percent": 45 * wave, "gpu_memory_bytes": 9.5 * GIB, "power_watts": 40 + 15 * wave}}
    readings = [
        Reading("host", host.pk, {{"cpu_cores": 4 + 3 * wave, "memory_bytes": (20 + 5 * wave) * GIB}}),
        Reading("accelerator", gpu.pk, gpu_values),
    ]
    for replica in replicas:
        values = {{"cpu_cores": wave / replica.number, "memory_bytes": 1.5 * GIB, "mapped_bytes": 0.1 * GIB}}
        counts = {{"requests_running": round(2 * wave), "requests_waiting": 0}}
        readings.append(Reading("replica", replica.pk, {{**values, **counts}}))
    samples.record(readings, now - timedelta(seconds=3600 - second))
samples.thin_out(now)
key = ApiKey.objects.filter(name="charts").first() or create_key(ada, team, "charts")[0]
def record(age_s, **more):
    who = {{"key": key.pk, "user": ada.pk, "team": team.pk, "deployment": deployment.pk}}
    tokens = {{"prompt_tokens": random.randint(50, 900), "completion_tokens": random.randint(20, 400)}}
    times = {{"ttft_ms": random.lognormvariate(4.5, 0.6), "duration_ms": 900.0}}
    return {{"id": uuid.uuid4().hex, "at": time.time() - age_s, "endpoint": "chat/completions", "status": 200,
        "request_id": uuid.uuid4().hex, "outcome": "ok", "stream": True, **who, **tokens, **times, **more}}
records = [record(random.uniform(0, 3600)) for _ in range(300)]
records += [record(random.uniform(0, 30 * 86400)) for _ in range(600)]
records.append(record(60, status=502, outcome="engine_failed", prompt_tokens=None, completion_tokens=None))
usage.accept(records)
result = key.pk
"""


@pytest.fixture
def past(site, deploy, move):
    """A deployment with a past; its number."""

    def make(name):
        pk = deploy(name, replicas=2)
        move(pk, "placing", "starting", "loading", "ready")
        site.do(PAST.format(pk=pk))
        return pk

    return make


@pytest.mark.parametrize("look", list(LOOKS))
def test_usage_and_charts_are_good_to_look_at(open_page, past, shoot, look):
    pk = past(f"charted-{look}")
    page = open_page("/usage/?range=30d", **LOOKS[look])
    expect(page.locator("#usage .uplot canvas")).to_have_count(1)
    assert page.evaluate(TOO_WIDE) == []
    shoot(page, f"usage-{look}")
    page.goto("/usage/requests/")
    expect(page.locator("#requests tbody tr").first).to_be_visible()
    assert page.evaluate(TOO_WIDE) == []
    shoot(page, f"requests-{look}")
    page.goto(f"/deployments/{pk}/")
    expect(page.locator(f"#charts-deployment-{pk} .uplot canvas")).to_have_count(6)
    assert page.evaluate(TOO_WIDE) == []
    shoot(page, f"deployment-charts-{look}")
    page.goto("/hosts/1/")
    expect(page.locator("#charts-host-1 .uplot canvas")).to_have_count(5)
    assert page.evaluate(TOO_WIDE) == []
    shoot(page, f"host-charts-{look}")


def test_the_range_of_the_charts_is_chosen_in_place(open_page, past):
    pk = past("ranged")
    page = open_page(f"/deployments/{pk}/")
    charts = page.locator(f"#charts-deployment-{pk}")
    expect(charts.locator("canvas").first).to_be_visible()
    page.evaluate("window.stillHere = true")
    charts.get_by_role("link", name="24 hours").click()
    expect(charts.get_by_role("link", name="24 hours")).to_have_attribute("aria-current", "true")
    expect(charts.locator("canvas").first).to_be_visible()
    assert page.evaluate("window.stillHere")


def test_charts_follow_while_somebody_looks(open_page, past, site):
    pk = past("followed-charts")
    page = open_page(f"/deployments/{pk}/")
    charts = page.locator(f"#charts-deployment-{pk}")
    expect(charts.locator("canvas").first).to_be_visible()
    page.evaluate(f"document.getElementById('charts-deployment-{pk}').dataset.chartEvery = '1'")
    charts.scroll_into_view_if_needed()
    charts.get_by_text("Show data table").click()
    site.do(
        "from webapp.samples.models import Sample; from webapp.deployments.models import Replica\n"
        f"replica = Replica.objects.get(deployment_id={pk}, number=1)\n"
        "for row in Sample.objects.filter(kind='replica', subject_id=replica.pk, resolution_s=10):\n"
        "    row.values['cpu_cores'] = 77.0\n"
        "    row.save()"
    )
    newest = charts.get_by_role("region", name="CPU").locator("tbody tr").first
    expect(newest).to_contain_text("77")
    expect(charts.locator("canvas").first).to_be_visible()


def test_another_theme_redraws_the_charts(open_page, past):
    pk = past("themed")
    page = open_page(f"/charts/deployment/{pk}/")
    colour = "document.querySelector('.u-legend .u-marker').style.background"
    expect(page.locator("canvas").first).to_be_visible()
    before = page.locator("canvas").first.screenshot()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    expect(page.locator("canvas").first).to_be_visible()
    assert page.locator("canvas").first.screenshot() != before
    assert page.evaluate(colour) is not None


def test_without_scripts_the_numbers_are_there(open_page, past):
    pk = past("scriptless")
    page = open_page(f"/deployments/{pk}/", java_script_enabled=False)
    page.get_by_role("link", name="Charts").click()
    page.get_by_text("Show data table").click()
    expect(page.get_by_role("region", name="Memory").locator("tbody tr").first).to_contain_text("GiB")
    page.goto("/usage/?group=day")
    expect(page.locator("table.stack tbody tr").first).to_be_visible()


def test_the_report_is_asked_without_leaving_the_page(open_page, past):
    past("asked")
    page = open_page("/usage/")
    page.evaluate("window.stillHere = true")
    page.get_by_role("combobox", name="Group by").select_option("key")
    expect(page.locator("#usage table.stack")).to_contain_text("charts")
    expect(page.locator("#usage canvas")).to_be_visible()
    page.get_by_role("searchbox", name="Search", exact=True).fill("nothing-like-it")
    expect(page.locator("#usage")).to_contain_text("No results for")
    assert "q=nothing-like-it" in page.url
    assert page.evaluate("window.stillHere")
