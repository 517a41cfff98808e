"""The socket of a live page: what is sent, and what happens when things break."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async

from tests.live.communicator import PATIENCE_S
from tests.live.scenes import quiet, run, said, stop
from webapp.deployments import lifecycle
from webapp.deployments.models import Deployment, Replica
from webapp.interfaces.live import consumers

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_change_arrives_as_the_same_panel_the_page_holds(listen, ada, deployment):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        assert await socket.connect()
        assert await quiet(socket)
        await stop(ada, deployment)
        message = await said(socket)
        assert '<div id="deployment-panel" hx-swap-oob="outerMorph">' in message["content"]
        assert "requested a stop" in message["content"]
        assert message["last"] == {f"deployment:{deployment.pk}": "1"}
        await socket.disconnect()

    run(scene())


def test_a_page_that_is_behind_gets_what_it_missed_at_once(listen, ada, deployment):
    async def scene():
        await stop(ada, deployment)
        socket = await listen(ada, f"deployment:{deployment.pk}", last="0")
        await socket.connect()
        assert "requested a stop" in (await said(socket))["content"]
        await socket.disconnect()

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
    monkeypatch.setattr("webapp.foundation.events.services.wake", lambda *names: None)

    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        await socket.connect()
        await stop(ada, deployment)
        assert "requested a stop" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


def test_without_a_broker_the_socket_opens_and_the_poll_does_the_work(listen, ada, deployment, quick, monkeypatch):
    class NoBroker:
        async def new_channel(self):
            raise ConnectionError("no broker")

        async def group_send(self, *args):
            raise ConnectionError("no broker")

    monkeypatch.setattr(consumers, "get_channel_layer", NoBroker)
    monkeypatch.setattr("webapp.foundation.events.services.get_channel_layer", NoBroker)

    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}")
        assert await socket.connect()
        await stop(ada, deployment)
        assert "requested a stop" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


def test_a_burst_of_changes_is_a_few_renderings(listen, ada, deployment):
    @sync_to_async
    def burst():
        replica = Replica.objects.get(deployment=deployment)
        lifecycle.move(replica, "pending", "placing", lifecycle.Reason("", ""))
        lifecycle.move(replica, "placing", "pulling", lifecycle.Reason("", ""))
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
        await socket.disconnect()

    run(scene())


def test_a_page_that_says_what_it_shows_is_sent_the_newest_when_it_shows_the_last(listen, ada, deployment):
    """A slow browser would be sent more renderings than it can show, and lie behind for as long as they last."""

    @sync_to_async
    def change(text):
        replica = Replica.objects.get(deployment=deployment)
        new = "placing" if replica.state == "pending" else "pending"
        lifecycle.move(replica, replica.state, new, lifecycle.Reason("", text))

    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}", acks=1)
        await socket.connect()
        await change("the first")
        assert "the first" in (await said(socket))["content"]
        await change("the second")
        await change("the third")
        assert await quiet(socket)
        await socket.say('{"shown": true}')
        assert "the third" in (await said(socket))["content"]
        assert await quiet(socket), "it has not said yet that it shows that"
        await socket.disconnect()

    run(scene())


def test_a_page_whose_word_was_lost_is_sent_the_newest_by_the_poll(listen, ada, deployment, quick):
    async def scene():
        socket = await listen(ada, f"deployment:{deployment.pk}", acks=1, last="none")
        await socket.connect()
        await said(socket)
        await stop(ada, deployment)
        assert "requested a stop" in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())


def test_signs_of_life_come_while_nothing_happens(listen, ada, quick):
    async def scene():
        socket = await listen(ada, "hosts")
        await socket.connect()
        output = await socket.receive_output(timeout=PATIENCE_S)
        assert json.loads(output["text"]) == {"beat": True}
        await socket.disconnect()

    run(scene())


def test_a_page_that_stays_silent_is_dropped_with_a_code_that_is_tried_again(listen, ada, quick, monkeypatch):
    monkeypatch.setattr(consumers, "SILENCE_S", 0.4)

    async def scene():
        socket = await listen(ada, "hosts")
        await socket.connect()
        while (output := await socket.receive_output(timeout=PATIENCE_S))["type"] != "websocket.close":
            pass  # signs of life, which it does not answer
        assert output["code"] == 1013

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
