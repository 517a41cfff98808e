"""The socket of a live page: who may listen, what is sent, and what happens when things break."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client

from tests.live.communicator import Socket
from webapp.accounts.models import Membership
from webapp.asgi import application
from webapp.deployments import lifecycle, services
from webapp.deployments.models import Deployment, Replica
from webapp.following import follow
from webapp.live import consumers

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = (b"origin", b"http://127.0.0.1:8000")


@pytest.fixture(autouse=True)
def fresh_layer():
    """In-memory channels belong to an event loop, and every test has its own."""
    from channels.layers import channel_layers

    channel_layers.backends = {}


@pytest.fixture
def quick(monkeypatch):
    """Polls and beats that a test can wait for."""
    monkeypatch.setattr(consumers, "POLL_S", 0.3)
    monkeypatch.setattr(consumers, "BEAT_S", 0.2)


@pytest.fixture
def listen():
    """Open the socket of a page that shows `topics` as they are now."""

    def opener(user, *topics, last=None, headers=(ORIGIN,), **more):
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        url = follow(topics).url if last is None else f"/ws/live/?topics={','.join(topics)}&last={last}"
        for name, value in more.items():
            url += f"&{name}={value}"
        sent = [*headers, (b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())]
        return Socket(application, url, headers=sent)

    return sync_to_async(opener)


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 20))


async def said(socket, timeout=3):
    """The next thing the server says that is not a sign of life."""
    while True:
        output = await socket.receive_output(timeout=timeout)
        if output["type"] != "websocket.send":
            return output
        message = json.loads(output["text"])
        if "beat" not in message:
            return message


async def quiet(socket, seconds=0.5):
    """Nothing but signs of life for a while."""
    deadline = asyncio.get_running_loop().time() + seconds
    while (left := deadline - asyncio.get_running_loop().time()) > 0:
        if not await socket.receive_nothing(timeout=left):
            output = await socket.receive_output(timeout=0.1)
            if output["type"] != "websocket.send" or "beat" not in output["text"]:
                return False
    return True


@sync_to_async
def stop(user, deployment):
    services.stop(user, deployment)


def test_a_change_arrives_as_the_same_panel_the_page_holds(listen, ada, deployment):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        assert await socket.connect()
        assert await quiet(socket)
        await stop(ada, deployment)
        message = await said(socket)
        assert '<div id="deployment-panel" hx-swap-oob="outerMorph">' in message["content"]
        assert "asked to stop" in message["content"]
        assert message["last"] == {f"deployment:{deployment.pk}": "1"}
        await socket.disconnect()

    run(scene())


def test_a_page_that_is_behind_gets_what_it_missed_at_once(listen, ada, deployment):
    async def scene():
        await stop(ada, deployment)
        socket = await listen(ada, f"deployment:{deployment.pk}", last="0")
        await socket.connect()
        assert "asked to stop" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


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
        assert "asked to stop" not in message["content"]
        assert (await said(socket))["code"] == 4404

    run(scene())


def test_a_deleted_deployment_is_said_to_be_gone(listen, ada, deployment, quick):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        await socket.connect()
        await Deployment.objects.filter(pk=deployment.pk).adelete()
        assert 'id="gone" hx-swap-oob' in (await said(socket))["content"]
        assert (await said(socket))["code"] == 4404

    run(scene())


def test_a_change_that_nobody_announced_is_found_by_the_poll(listen, ada, deployment, quick, monkeypatch):
    """The broker lost the message: the version in the database still tells."""
    monkeypatch.setattr("webapp.events.services.wake", lambda *names: None)

    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        await socket.connect()
        await stop(ada, deployment)
        assert "asked to stop" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


def test_without_a_broker_the_socket_opens_and_the_poll_does_the_work(listen, ada, deployment, quick, monkeypatch):
    class NoBroker:
        async def new_channel(self):
            raise ConnectionError("no broker")

        async def group_send(self, *args):
            raise ConnectionError("no broker")

    monkeypatch.setattr(consumers, "get_channel_layer", NoBroker)
    monkeypatch.setattr("webapp.events.services.get_channel_layer", NoBroker)

    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        assert await socket.connect()
        await stop(ada, deployment)
        assert "asked to stop" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


def test_a_burst_of_changes_is_a_few_renderings(listen, ada, deployment):
    @sync_to_async
    def burst():
        replica = Replica.objects.get(deployment=deployment)
        lifecycle.move(replica, "pending", "placing", lifecycle.Why("", ""))
        lifecycle.move(replica, "placing", "pulling", lifecycle.Why("", ""))
        for step in range(100):
            lifecycle.record_progress(replica.pk, step / 100, f"step {step}")

    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        await socket.connect()
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        await burst()
        messages = []
        while not messages or "step 99" not in messages[-1]["content"]:
            messages.append(await said(socket))
        elapsed = asyncio.get_running_loop().time() - started
        assert len(messages) <= elapsed / consumers.PAUSE_S + 2
        assert len(messages) < 60
        await socket.disconnect()

    run(scene())


def test_only_new_text_of_a_log_is_sent_and_as_text(listen, ada, deployment):
    replica = deployment.replicas.get()
    topic = f"replica-log:{replica.pk}"
    say = sync_to_async(lambda text: lifecycle.append_log(replica.pk, 1, 1, text, "now"))

    async def scene():
        await say("before\n")
        socket = await listen(ada, topic, last="1-1-7")
        await socket.connect()
        assert await quiet(socket, 0.3)
        await say("<script>alert(1)</script>\x1b[31m!\n")
        message = await said(socket)
        assert message["texts"] == [{"id": topic, "text": "<script>alert(1)</script>!\n", "fresh": False}]
        assert "content" not in message
        assert message["last"] == {topic: f"1-1-{7 + 32}"}
        await socket.disconnect()

    run(scene())


def test_a_long_log_arrives_whole(listen, ada, deployment):
    replica = deployment.replicas.get()
    topic = f"replica-log:{replica.pk}"
    line = "x" * 999 + "\n"

    async def scene():
        for _ in range(3):
            await sync_to_async(lifecycle.append_log)(replica.pk, 1, 1, line * 60, "now")
        socket = await listen(ada, topic, last="1-1-0")
        await socket.connect()
        text = ""
        while len(text) < 180_000:
            text += "".join(part["text"] for part in (await said(socket))["texts"])
        assert text == line * 180
        await socket.disconnect()

    run(scene())


def test_signs_of_life_come_while_nothing_happens(listen, ada, quick):
    async def scene():
        socket = await listen(ada, "hosts")
        await socket.connect()
        output = await socket.receive_output(timeout=2)
        assert json.loads(output["text"]) == {"beat": True}
        await socket.disconnect()

    run(scene())


def test_a_page_that_stays_silent_is_dropped_with_a_code_that_is_tried_again(listen, ada, quick, monkeypatch):
    monkeypatch.setattr(consumers, "SILENCE_S", 0.4)

    async def scene():
        socket = await listen(ada, "hosts")
        await socket.connect()
        assert (await said(socket))["code"] == 1013

    run(scene())


@pytest.mark.parametrize("text", ["{}", "not json", "[1]", '{"view": 3}', '{"view": "?q=none"}'])
def test_whatever_a_page_says_the_socket_stays(listen, ada, deployment, text):
    async def scene():
        socket = await listen(ada, f"deployments:{deployment.team_id}")
        await socket.connect()
        await socket.say(text)
        await stop(ada, deployment)
        assert "deployments" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


def test_the_list_is_rendered_as_the_page_is_searched(listen, ada, deployment, make_deployment):
    make_deployment("other")

    async def scene():
        socket = await listen(ada, f"deployments:{deployment.team_id}", view="q%3Dother")
        await socket.connect()
        await asyncio.sleep(0.2)
        await stop(ada, deployment)
        content = (await said(socket))["content"]
        assert ">other</a>" in content
        assert ">smollm2</a>" not in content
        await socket.disconnect()

    run(scene())


def test_lists_of_two_teams_are_one_panel(listen, root, deployment, make_deployment, eve):
    make_deployment("theirs", team=eve.teams.get())
    topics = [f"deployments:{team}" for team in (deployment.team_id, eve.teams.get().pk)]

    async def scene():
        socket = await listen(root, *topics, last="7,7")
        await socket.connect()
        content = (await said(socket))["content"]
        assert content.count('<section id="deployments"') == 1
        await socket.disconnect()

    run(scene())


def test_the_home_page_is_one_panel_for_all_its_topics(listen, ada, deployment, host):
    topics = [f"deployments:{deployment.team_id}", f"jobs:{deployment.team_id}", "hosts"]

    async def scene():
        socket = await listen(ada, *topics, last="7,7,7", page="home")
        await socket.connect()
        content = (await said(socket))["content"]
        assert content.startswith('<div id="home" hx-swap-oob="outerMorph">')
        assert content.count("hx-swap-oob") == 1
        await socket.disconnect()

    run(scene())


def test_an_admin_of_a_hundred_teams_has_a_live_list_too(listen, root, deployment):
    from webapp.accounts.models import Team

    Team.objects.bulk_create(Team(name=f"t{number}", slug=f"t{number}") for number in range(100))
    topics = [f"deployments:{pk}" for pk in Team.objects.order_by("pk").values_list("pk", flat=True)]

    async def scene():
        socket = await listen(root, *topics)
        await socket.connect()
        await stop(root, deployment)
        assert 'id="deployments"' in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())
