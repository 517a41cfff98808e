"""How pages tell times and where a number comes from."""

from datetime import timedelta

import pytest
from django.utils import timezone

from webapp.interfaces.kit.templatetags import show


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (timedelta(days=7, seconds=-5), "in 7 d"),
        (timedelta(hours=1, minutes=10), "in 1 h"),
        (timedelta(days=-2, hours=1), "1 d ago"),
        (timedelta(seconds=-90), "1 min ago"),
        (timedelta(0), "just now"),
    ],
)
def test_what_is_over_is_rounded_down_and_what_comes_is_rounded(away, words):
    assert f">{words}</time>" in show.ago(timezone.now() + away)


def test_a_memory_term_says_in_words_where_it_comes_from():
    assert show.basis("config") == "computed from config"
    assert show.basis("exact") == "exact"


@pytest.mark.parametrize(
    ("tell", "value", "words"),
    [
        (show.parameters, 900, "900"),
        (show.parameters, 260_000, "260 K"),
        (show.parameters, 1_400_000, "1.4 M"),
        (show.parameters, 134_515_008, "135 M"),
        (show.gib, 300, "300 B"),
        (show.gib, 40 * 1024, "40.0 KiB"),
        (show.gib, 60 * 1024, "0.1 MiB"),
        (show.gib, 144_811_072, "138.1 MiB"),
        (show.gib, 0, "0.0 GiB"),
        (show.rate, 0.01, "< 0.1"),
        (show.rate, 0, "0"),
        (show.duration, 0.04, "40 ms"),
        (show.duration, 0.4, "0.4 s"),
    ],
)
def test_what_is_there_is_never_told_as_nothing(tell, value, words):
    assert tell(value) == words
