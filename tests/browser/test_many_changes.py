"""More changes than a slow browser can show one by one: what it shows in the end is what the database says."""

import time

import pytest
from playwright.sync_api import expect

from tests.browser.site import wait_until
from tests.parts import figures

pytestmark = pytest.mark.browser

DEPLOYMENTS = 20
# A phone on a bad line: a sixth of the processor, half a second there and back, 60 kB/s.
SLOWNESS = 6
LINE = {"offline": False, "latency": 500, "downloadThroughput": 60_000, "uploadThroughput": 60_000}

CHANGE = """
import random, time
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
from webapp.deployments.states import MOVES, ReplicaState
dice, began = random.Random(13), time.monotonic()
rows = list(Replica.objects.filter(deployment__in={pks!r}).select_related("deployment"))
for number in range({changes}):
    row = dice.choice(rows)
    old = ReplicaState(row.state)
    new = dice.choice(sorted(MOVES[old]))
    assert lifecycle.move(row, old, new, lifecycle.Reason("test", f"change {{number}}"))
    time.sleep(max(0, began + number * {within_s} / {changes} - time.monotonic()))
result = time.monotonic() - began
"""

WANTED = """
from webapp.deployments.models import Deployment
quiet = ("ready", "stopped", "draining")
result = {{
    str(row.pk): [row.state, "".join(one.reason for one in row.replicas.all() if one.state not in quiet)]
    for row in Deployment.objects.filter(pk__in={pks!r}).for_list()
}}
"""

SHOWN = """() => Object.fromEntries([...document.querySelectorAll("tr[id^=deployment-]")].map((row) => [
    row.id.slice("deployment-".length),
    [row.querySelector("td[data-label=State] .badge").textContent.trim(),
     [...row.querySelectorAll("td[data-label=State] .reason")].map((part) => part.textContent).join("")]]))"""


def slow_down(page):
    """From now on this page is in a slow browser on a bad line."""
    tools = page.context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Network.emulateNetworkConditions", LINE)
    tools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWNESS})


@pytest.mark.parametrize(
    ("changes", "within_s"), [(200, 0.5), pytest.param(2000, 5, marks=pytest.mark.slow, id="for-long")]
)
def test_a_slow_browser_shows_what_the_database_says_once_it_is_quiet(open_page, site, deploy, changes, within_s):
    pks = [deploy(f"restless{changes}-{number}") for number in range(DEPLOYMENTS)]
    pages = [open_page(f"/deployments/?q=restless{changes}"), open_page(f"/deployments/{pks[0]}/")]
    for page in pages:
        expect(page.locator("html")).to_have_attribute("data-live", "live")
        page.evaluate("window.stillHere = true")
        slow_down(page)
    took_s = site.do(CHANGE.format(pks=pks, changes=changes, within_s=within_s))
    began = time.monotonic()
    wanted = site.do(WANTED.format(pks=pks))
    one = site.do(f"from webapp.deployments.models import Replica; r = Replica.objects.get(deployment_id={pks[0]})\n"
                  "result = [r.state, r.reason]")  # fmt: skip
    rows, panel = pages[0], pages[1].locator("#deployment-panel")
    wait_until(lambda: rows.evaluate(SHOWN) == wanted and all(word in panel.inner_text() for word in one))
    quiet_s = time.monotonic() - began
    assert all(page.evaluate("window.stillHere") for page in pages), "nobody reloaded it"
    print(f"{changes} changes in {took_s:.1f} s")
    figures.tell(f"a slow browser after {changes} changes: equal to the database", quiet_s, 5, "s")
