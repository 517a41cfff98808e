"""A job's page in a browser: its steps and what its tools say arrive while one looks."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

QUEUE = """
from django.utils import timezone
from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact
from webapp.inventory.models import Host
from webapp.jobs import services
from webapp.jobs.models import JobKind
from webapp.jobs.states import JobState
job = services.queue_job(User.objects.get(username="ada"), Team.objects.get(slug="research"), JobKind.QUANTISE,
    Artifact.objects.first(), Host.objects.get(),
    {"recipe": {"method": "gguf"}, "steps": ["prepare", "calibrate", "quantise", "publish"]})
services.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now(), phase=2)
result = job.pk
"""
SAY = """
from webapp.jobs import logs
logs.append({pk}, 1, {step}, {text!r}, "now")
"""
PROGRESS = """
from webapp.jobs import services
services.record_progress({pk}, "quantise", 8, 272, "tensors", 2.5, "blk.0")
"""
HOSTILE = "<img src=x onerror=document.title='owned'>\x1b[31m blk.1\n"


def test_what_a_jobs_tools_say_follows_as_text_and_is_searched(site, open_page):
    pk = site.do(QUEUE)
    site.do(SAY.format(pk=pk, step=2, text="[1] 56.9\n"))
    page = open_page(f"/jobs/{pk}/")
    log = page.locator("[data-log]")
    assert "[1] 56.9" in log.inner_text()
    page.wait_for_function("document.documentElement.dataset.live === 'live'")
    site.do(SAY.format(pk=pk, step=3, text=HOSTILE))
    page.get_by_text("── quantise ──").wait_for()
    assert "<img src=x onerror=document.title='owned'> blk.1" in log.inner_text()
    assert page.locator("img[src=x]").count() == 0 and page.title() != "owned"
    # The panel is drawn anew and the log beside it stays.
    site.do(PROGRESS.format(pk=pk))
    page.get_by_text("8 of 272 tensors").wait_for()
    page.get_by_label("Search logs").fill("56.9")
    assert log.inner_text().strip() == "[1] 56.9"
    page.get_by_label("Search logs").press("Enter")
    page.wait_for_url("**/log/?q=56.9")
    assert "[1] 56.9" in page.locator(".log-tall").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"job-{pk}.log"


LONG_AGO = """
from datetime import timedelta
from django.utils import timezone
from webapp.jobs.models import Job
Job.objects.filter(pk={pk}).update(started_at=timezone.now() - timedelta(hours=1, minutes=12, seconds=30))
"""


def test_how_long_a_job_has_run_is_counted_on_while_nothing_happens(site, open_page):
    pk = site.do(QUEUE)
    page = open_page(f"/jobs/{pk}/")
    running = page.locator("dd time[data-running]")
    for _look in range(2):
        shown = running.inner_text()
        expect(running).not_to_have_text(shown)
    site.do(LONG_AGO.format(pk=pk))
    page.reload()
    expect(running).to_have_text("1 h 12 min")
