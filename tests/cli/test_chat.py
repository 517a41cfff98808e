"""`modelyard chat` through the real gateway to an engine that answers."""

import pytest

from tests.browser.fake_engine import WORDS, FakeEngine
from tests.browser.site import wait_until
from tests.cli.test_commands import MOVES

READY = """
from webapp.deployments.models import Replica
from webapp.foundation.events.services import publish
from webapp.foundation.events.topics import ROUTES
Replica.objects.filter(deployment__name={name!r}).update(address="127.0.0.1", port={port})
publish(ROUTES)
"""


@pytest.fixture
def engine(as_person, stack):
    engine = FakeEngine()
    ada = as_person("ada")
    assert ada("deployments", "create", "--name", "talker", "--artifact", "SmolLM2/Q8_0").code == 0
    stack.site.do(MOVES.format(name="talker", states=["placing", "starting", "loading", "ready"], text=""))
    stack.site.do(READY.format(name="talker", port=engine.port))
    body = {"model": "talker", "messages": [{"role": "user", "content": "x"}]}
    wait_until(lambda: stack.site.status("/v1/chat/completions", stack.keys["ada"], body) == 200)
    engine.asked.clear()
    yield engine
    stack.site.do('from webapp.deployments.models import Deployment; Deployment.objects.filter(name="talker").delete()')
    engine.stop()


def test_an_answer_is_printed_as_it_streams(ada, engine):
    told = ada("chat", "talker", "Hello?", "--system", "Be brief.", "--max-tokens", "20", "--temperature", "0.5")
    assert told.code == 0, told.err
    assert told.out == "".join(WORDS) + "\n"
    asked = engine.asked[-1]
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert (asked["max_tokens"], asked["temperature"], asked["stream"]) == (20, 0.5, True)
    assert ada("chat", "research/talker", "Hello?").out == told.out


def test_a_model_that_is_not_there_is_said(ada, engine):
    told = ada("chat", "nobody", "Hello?")
    assert told.code == 1
    assert "nobody" in told.err


def test_a_stranger_does_not_reach_it(as_person, engine):
    told = as_person("eve")("chat", "research/talker", "Hello?")
    assert told.code == 1
    assert not told.out.strip()
