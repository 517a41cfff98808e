"""What happens on a socket, in words that tests share."""

import asyncio
import json

from asgiref.sync import sync_to_async

from tests.live.communicator import PATIENCE_S
from webapp.deployments import services

ORIGIN = (b"origin", b"http://127.0.0.1:8000")


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 300))


async def said(socket, timeout=PATIENCE_S):
    """The next thing the server says that is not a sign of life."""
    while True:
        output = await socket.receive_output(timeout=timeout)
        if output["type"] != "websocket.send":
            return output
        message = json.loads(output["text"])
        if "beat" not in message:
            return message
        await socket.say("{}")  # as a page does, which else would be taken for dead


async def quiet(socket, seconds=0.5):
    """Nothing but signs of life for a while."""
    deadline = asyncio.get_running_loop().time() + seconds
    while (left := deadline - asyncio.get_running_loop().time()) > 0:
        if not await socket.receive_nothing(timeout=left):
            output = await socket.receive_output(timeout=PATIENCE_S)
            if output["type"] != "websocket.send" or "beat" not in output["text"]:
                return False
            await socket.say("{}")
    return True


@sync_to_async
def stop(user, deployment):
    services.stop(user, deployment)
