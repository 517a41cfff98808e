"""What a job's containers printed: kept by step, read by place, searched and downloaded as plain text."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.browser.markup import faults
from webapp.foundation.log_text import PIECE_CHARS, Place
from webapp.jobs import logs, services
from webapp.jobs.models import Job, JobKind, JobLogChunk

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(ada, team, artifact, host):
    params = {"recipe": {"method": "gguf"}, "steps": ["prepare", "convert", "quantise"]}
    return services.queue_job(ada, team, JobKind.QUANTISE, artifact, host, params)


def read_on(job, place=None):
    """Everything after a place, as a reader sees it who comes back until there is no more."""
    text = ""
    while (piece := logs.since(job, place) if place else logs.beginning(job)) is not None:
        text, place = text + piece.text, piece.place
    return text, place


def test_a_reader_goes_on_from_step_to_step_and_misses_nothing(job):
    logs.append(job.pk, 1, 2, "converting\n", "1")
    text, place = read_on(job)
    assert text == "── convert ──\nconverting\n"
    logs.append(job.pk, 1, 2, "converted\n", "2")
    logs.append(job.pk, 1, 3, "tensor 1\n", "3")
    logs.append(job.pk, 2, 3, "tensor 1\n", "4")
    text, place = read_on(job, place)
    assert text == "converted\n── quantise ──\ntensor 1\n── quantise, attempt 2 ──\ntensor 1\n"
    assert str(place) == "3-2-9"


def test_a_page_that_opens_shows_the_newest_steps_and_goes_on_there(job):
    logs.append(job.pk, 1, 1, "x" * 70_000 + "\n", "1")
    logs.append(job.pk, 1, 2, "end\n", "2")
    tail = logs.tail(job)
    assert tail.text.endswith("x\n── convert ──\nend\n") and len(tail.text) < PIECE_CHARS + 100
    assert logs.since(job, tail.place) is None
    logs.append(job.pk, 1, 2, "more\n", "3")
    assert logs.since(job, tail.place).text == "more\n"


def test_of_a_long_step_the_newest_is_kept_and_other_steps_stay(job):
    logs.append(job.pk, 1, 1, "first step\n", "1")
    for number in range(80):
        logs.append(job.pk, 1, 2, f"{number:05d}" + "x" * 9994 + "\n", str(number))
    assert JobLogChunk.objects.filter(job=job).count() <= logs.KEPT_CHUNKS + 1
    whole = logs.whole(job)
    assert whole.startswith("── prepare ──\nfirst step\n── convert ──\n[the beginning is no longer kept]\n")
    assert "00079xxx" in whole and "00001xxx" not in whole


def test_a_reader_who_was_left_behind_begins_anew_at_what_is_kept(job):
    for number in range(80):
        logs.append(job.pk, 1, 2, "x" * 20_000 + f"{number}\n", str(number))
    piece = logs.since(job, Place(2, 1, 10))
    assert piece.fresh and piece.place.offset > 10


def test_a_watcher_that_starts_again_knows_where_it_was(job):
    assert logs.until(job.pk, 1, 1) == ""
    logs.append(job.pk, 1, 1, "a\n", "2026-01-01T00:00:01Z")
    logs.append(job.pk, 1, 1, "b\n", "2026-01-01T00:00:02Z")
    assert logs.until(job.pk, 1, 1) == "2026-01-01T00:00:02Z"
    assert JobLogChunk.objects.count() == 1


def test_logs_of_old_jobs_go_when_a_new_one_speaks(job, ada, team, artifact, host):
    logs.append(job.pk, 1, 1, "old\n", "1")
    Job.objects.filter(pk=job.pk).update(state="failed", ended_at=timezone.now() - timedelta(days=31))
    newer = services.queue_fetch(ada, team, artifact, host, {})
    logs.append(newer.pk, 1, 1, "new\n", "1")
    assert [chunk.text for chunk in JobLogChunk.objects.all()] == ["new\n"]


def test_a_job_of_one_step_needs_no_headings(ada, team, artifact, host):
    job = services.queue_fetch(ada, team, artifact, host, {})
    logs.append(job.pk, 1, 1, "copy: x.gguf\n", "1")
    assert logs.tail(job).text == "copy: x.gguf\n"


@pytest.mark.django_db(transaction=True)
def test_a_log_of_a_job_that_is_gone_is_dropped():
    logs.append(999_999, 1, 1, "nobody\n", "1")


@pytest.mark.parametrize("person", ["ada", "bob"])
def test_hostile_words_stay_text_on_the_page(client, request, job, person):
    logs.append(job.pk, 1, 2, "<script>alert(1)</script>\x1b[31mred\x1b[0m \u202egnp\n", "1")
    client.force_login(request.getfixturevalue(person))
    for name in ("detail", "log"):
        text = client.get(reverse(f"jobs:{name}", args=[job.pk])).content.decode()
        assert faults(text) == []
        assert "&lt;script&gt;alert(1)&lt;/script&gt;red gnp" in text and "<script>alert" not in text


def test_the_log_is_searched_by_step_and_downloaded(client, ada, job):
    logs.append(job.pk, 1, 2, "one tensor\nsomething else\n", "1")
    logs.append(job.pk, 1, 3, "another Tensor\n", "2")
    client.force_login(ada)
    url = reverse("jobs:log", args=[job.pk])
    found = client.get(url, {"q": "tensor"}).content.decode()
    assert "one tensor" in found and "another Tensor" in found and "something else" not in found
    found = client.get(url, {"step": "2-1"}).content.decode()
    assert "something else" in found and "another Tensor" not in found
    assert "No matching lines for" in client.get(url, {"q": "nowhere"}).content.decode()
    file = client.get(url, {"download": ""})
    assert file["Content-Disposition"] == f'attachment; filename="job-{job.pk}.log"'
    assert file.content.decode() == logs.whole(job)


def test_a_strangers_job_has_no_log(client, eve, job):
    logs.append(job.pk, 1, 2, "secret\n", "1")
    client.force_login(eve)
    assert client.get(reverse("jobs:log", args=[job.pk])).status_code == 404
