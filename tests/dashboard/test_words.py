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
    assert show.basis("config") == "from the model's shape"
    assert show.basis("exact") == "exact"
