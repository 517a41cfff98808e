"""Who may listen to a live page, from where, and for how long."""

import pytest
from allauth.mfa.models import Authenticator

from tests.live.communicator import Socket
from tests.live.scenes import ORIGIN, quiet, run, said, stop
from webapp.accounts import sign_in
from webapp.accounts.models import Membership, SignInSettings
from webapp.asgi import application

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_teammate_may_listen(listen, bob, deployment):
    async def scene():
        socket = await listen(bob, f"deployment:{deployment.pk}", f"deployments:{deployment.team_id}", last="9,9")
        await socket.connect()
        assert "deployment-panel" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


@pytest.mark.parametrize("kind", ["deployment", "deployments", "replica-log", "jobs"])
def test_a_stranger_hears_nothing_and_is_shown_out(listen, eve, deployment, kind):
    keys = {"deployments": deployment.team_id, "jobs": deployment.team_id, "replica-log": deployment.replicas.get().pk}
    topic = f"{kind}:{keys.get(kind, deployment.pk)}"

    async def scene():
        socket = await listen(eve, topic, last="-1")
        await socket.connect()
        message = await said(socket)
        assert deployment.name not in message["content"]
        assert await said(socket) == {"type": "websocket.close", "code": 4404}

    run(scene())


@pytest.mark.parametrize("topics", ["", "secrets:1", "deployment:x", "deployment:1;drop", "hosts:1:2", "deployment:²"])
def test_topics_that_make_no_sense_are_refused(listen, ada, topics):
    async def scene():
        socket = await listen(ada, topics, last="0")
        await socket.connect()
        assert (await said(socket))["code"] == 4404

    run(scene())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"origin", b"http://evil.example")],
        [(b"origin", b"http://127.0.0.1:9000")],
        [(b"origin", b"https://127.0.0.1:8000")],
        [(b"origin", b"http://127.0.0.1:8000.evil.example")],
        [(b"origin", b"http://127.0.0.1:x")],
        [ORIGIN, (b"origin", b"http://evil.example")],
    ],
)
def test_a_page_of_another_site_gets_no_socket(listen, ada, headers):
    async def scene():
        socket = await listen(ada, "hosts", headers=headers)
        assert not await socket.connect()

    run(scene())


def test_without_a_session_there_is_nothing_to_hear(deployment):
    async def scene():
        socket = Socket(application, f"/ws/live/?topics=deployment:{deployment.pk}&last=0", headers=[ORIGIN])
        await socket.connect()
        assert (await said(socket))["code"] == 4401

    run(scene())


def test_signing_out_ends_the_socket_at_the_next_look(listen, ada, deployment, quick):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        await socket.connect()
        from django.contrib.sessions.models import Session

        await Session.objects.all().adelete()
        assert (await said(socket))["code"] == 4401

    run(scene())


def test_someone_who_left_the_team_hears_nothing_more(listen, bob, ada, deployment):
    async def scene():
        socket = await listen(bob, f"deployment:{deployment.pk}")
        await socket.connect()
        assert await quiet(socket, 0.3)
        await Membership.objects.filter(user=bob).adelete()
        await stop(ada, deployment)
        message = await said(socket)
        assert "requested a stop" not in message["content"]
        assert (await said(socket))["code"] == 4404

    run(scene())


@pytest.fixture
def unasked():
    """Processes remember the rule for a few seconds."""
    sign_in.forget()
    yield
    sign_in.forget()


@pytest.fixture
def required(db, unasked):
    SignInSettings.objects.create(is_second_factor_required=True)


def test_where_everybody_needs_a_second_factor_a_session_without_one_hears_nothing(listen, ada, deployment, required):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}", last="-1")
        await socket.connect()
        assert await said(socket) == {"type": "websocket.close", "code": 4401}

    run(scene())


def test_the_rule_shuts_sockets_that_are_open(listen, ada, deployment, quick, unasked):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        await socket.connect()
        await SignInSettings.objects.acreate(is_second_factor_required=True)
        sign_in.forget()
        assert (await said(socket))["code"] == 4401

    run(scene())


def test_whoever_has_a_second_factor_hears_as_before(listen, ada, deployment, required):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}", last="-1")
        await socket.connect()
        assert "deployment-panel" in (await said(socket))["content"]
        await socket.disconnect()

    Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={"secret": "sealed"})
    run(scene())
