"""Logs on a live page: only what is new, and only text."""

import pytest
from asgiref.sync import sync_to_async

from tests.live.scenes import quiet, run, said
from webapp.deployments import lifecycle
from webapp.jobs import logs as job_logs
from webapp.jobs import services
from webapp.jobs.models import JobKind

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_the_log_of_a_running_job_arrives_step_by_step(listen, ada, team, artifact, host):
    job = services.queue_job(ada, team, JobKind.QUANTISE, artifact, host, {"steps": ["prepare", "quantise"]})
    topic = f"job-log:{job.pk}"
    say = sync_to_async(lambda step, text: job_logs.append(job.pk, 1, step, text, "now"))

    async def scene():
        await say(1, "before\n")
        socket = await listen(ada, topic, last="1-1-7")
        await socket.connect()
        assert await quiet(socket, 0.3)
        await say(2, "<b>[1/272]</b>\x1b[31m\n")
        message = await said(socket)
        assert message["texts"] == [{"id": topic, "text": "── quantise ──\n<b>[1/272]</b>\n", "fresh": False}]
        assert message["last"] == {topic: "2-1-20"}
        await socket.disconnect()

    run(scene())
