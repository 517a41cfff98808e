"""The sums can be proved against the records, and made anew."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from webapp.usage import services
from webapp.usage.models import Period, Rollup, UsageRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def busy(make_record, deployment, make_deployment, ada, team):
    """Three days of requests to two deployments."""
    other, now = make_deployment("other"), timezone.now()
    for hours in range(0, 72, 5):
        at = (now - timedelta(hours=hours)).timestamp()
        for to in (deployment, other):
            services.accept([make_record(at=at, user=ada.pk, team=team.pk, deployment=to.pk, ttft_ms=hours * 30.5)])


def everything():
    return {
        (row.period, row.at, row.deployment_id): {name: value for name, value in vars(row).items() if name[0] != "_"}
        | {"id": None, "duration_ms": round(row.duration_ms, 3)}
        for row in Rollup.objects.exclude(period=Period.MINUTE)
    }


def run(*words):
    out = io.StringIO()
    call_command("usage_rollups", *words, stdout=out)
    return out.getvalue()


def test_untouched_sums_are_right(busy):
    assert "what the records add up to" in run()


@pytest.mark.parametrize("harm", ["changed", "lost", "doubled minute", "all gone"])
def test_harmed_sums_are_found_and_made_anew(busy, harm):
    before = everything()
    if harm == "changed":
        Rollup.objects.filter(period=Period.HOUR).update(completion_tokens=F("completion_tokens") + 1)
    elif harm == "lost":
        Rollup.objects.filter(period=Period.DAY).first().delete()
    elif harm == "doubled minute":
        Rollup.objects.filter(period=Period.DAY).update(requests=F("requests") * 2)
    else:
        Rollup.objects.all().delete()
    with pytest.raises(CommandError, match="differ from the records"):
        run()
    assert "recomputed" in run("--rebuild")
    assert everything() == before
    assert "what the records add up to" in run()


def test_the_totals_are_made_from_the_days(busy, deployment):
    before = services.totals()
    Rollup.objects.filter(period=Period.TOTAL).delete()
    run("--rebuild")
    assert services.totals() == before


def test_days_whose_records_have_gone_are_left_alone(busy, make_record, deployment):
    old = (timezone.now() - timedelta(days=services.RECORDS_KEPT_DAYS + 3)).timestamp()
    services.accept([make_record(at=old, deployment=deployment.pk)])
    services.expire()
    before = everything()
    assert UsageRecord.objects.filter(at__lt=timezone.now() - timedelta(days=30)).count() == 0
    run("--rebuild")
    assert everything() == before


def test_nothing_at_all_is_right_too():
    assert "what the records add up to" in run()
