"""Logs are text, whatever the engine prints."""

import pytest
from django.urls import reverse

from webapp.deployments import lifecycle, logs
from webapp.deployments.models import Replica

HOSTILE = "<script>alert(1)</script>\x1b[31mred\x1b[0m\x07\u202eevil</pre><img src=x onerror=alert(2)>\n"


@pytest.fixture
def replica(deployment):
    return deployment.replicas.get()


def say(replica, text, attempt=1):
    lifecycle.append_log(replica.pk, 1, attempt, text, "2026-01-01T00:00:00Z")


def test_a_hostile_line_is_shown_as_text(client, ada, deployment, replica):
    say(replica, HOSTILE)
    client.force_login(ada)
    for url in (
        reverse("deployments:detail", args=[deployment.pk]),
        reverse("deployments:log", args=[deployment.pk, 1]),
    ):
        text = client.get(url).content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;redevil&lt;/pre&gt;" in text
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_the_download_is_plain_text_in_a_file(client, ada, deployment, replica):
    say(replica, HOSTILE)
    client.force_login(ada)
    reply = client.get(reverse("deployments:log", args=[deployment.pk, 1]), {"download": ""})
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Content-Disposition"].startswith("attachment")
    assert reply.content.decode().startswith("<script>alert(1)</script>red")


def test_a_strangers_door_to_the_log_is_a_404(client, eve, deployment, replica):
    client.force_login(eve)
    assert client.get(reverse("deployments:log", args=[deployment.pk, 1])).status_code == 404


def test_the_log_is_searched(client, ada, deployment, replica):
    say(replica, "loading\nERROR: no such file\nbye\n")
    client.force_login(ada)
    text = client.get(reverse("deployments:log", args=[deployment.pk, 1]), {"q": "error"}).content.decode()
    assert "ERROR: no such file" in text
    assert "bye" not in text


def test_reading_goes_on_where_it_stopped(replica):
    say(replica, "one\n")
    first = logs.tail(replica)
    assert (first.text, first.fresh) == ("one\n", True)
    assert logs.since(replica, first.place) is None
    say(replica, "two\n")
    second = logs.since(replica, first.place)
    assert (second.text, second.fresh) == ("two\n", False)


def test_a_sequence_cut_in_two_pieces_leaves_nothing_behind(replica):
    say(replica, "one\x1b[3")
    first = logs.tail(replica)
    assert first.text == "one"
    say(replica, "1mred\n")
    assert logs.since(replica, first.place).text == "red\n"


def test_a_new_attempt_begins_anew(replica):
    say(replica, "old\n")
    seen = logs.tail(replica).place
    Replica.objects.filter(pk=replica.pk).update(attempt=2)
    replica.refresh_from_db()
    say(replica, "new\n", attempt=2)
    piece = logs.since(replica, seen)
    assert (piece.text, piece.fresh) == ("new\n", True)


def test_a_long_log_comes_in_pieces_and_loses_nothing(replica):
    for number in range(10):
        say(replica, f"{number}" * 20_000)
    place, text = logs.Place(1, 1, 0), ""
    while (piece := logs.since(replica, place)) is not None:
        assert len(piece.text) <= logs.PIECE_CHARS
        place, text = piece.place, text + piece.text
    assert text == "".join(f"{number}" * 20_000 for number in range(10))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\rb\r\nc", "a\nb\nc"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("tab\tkept\x00\x08\x9b", "tab\tkept"),
        ("\u202eabc\u2069", "abc"),
        ("\x1b(B plain", "(B plain"),
    ],
)
def test_control_characters_are_taken_out(raw, shown):
    assert logs.plain(raw) == shown


@pytest.mark.parametrize("text", ["", "1-2", "a-b-c", "1-2-3-4", "-1-2-3", "1-1-" + "9" * 40, "²-1-1"])
def test_a_place_that_makes_no_sense_is_the_beginning(text):
    assert logs.Place.parse(text) == logs.Place()
