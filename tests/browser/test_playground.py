"""The playground: one chat or two side by side, kept in the tab, given as code that works."""

import json
import os
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.browser.fake_engine import FakeEngine

pytestmark = pytest.mark.browser

READY = (
    "from webapp.deployments.models import Replica; from webapp.foundation.events.services import publish\n"
    "from webapp.foundation.events.topics import ROUTES\n"
    "Replica.objects.filter(deployment_id={pk}).update(address='127.0.0.1', port={port})\n"
    "publish(ROUTES)"
)
KEY = """
from webapp.accounts.models import Team, User
from webapp.accounts.services import create_key
result = create_key(User.objects.get(username="ada"), Team.objects.get(slug="research"), "playground")[1]
"""


@pytest.fixture
def second(site, deploy, move, known_to_gateway):
    """Another engine, beside `engine`."""
    engine = FakeEngine()
    pk = deploy(f"second-{engine.port}")
    move(pk, "placing", "starting", "loading", "ready")
    site.do(READY.format(pk=pk, port=engine.port))
    engine.deployment = pk
    known_to_gateway(pk, f"second-{engine.port}", 200)
    engine.asked.clear()
    yield engine
    engine.stop()


def answers(page, pane):
    return page.locator(f"#turns-{pane} .turn-assistant .words")


def answered(page):
    """Wait for the end of the answer: its last word is seen a moment earlier."""
    expect(answers(page, "a")).to_contain_text("How are you?")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_two_models_are_asked_the_same_and_keep_their_own_talk(open_page, engine, second, shoot):
    page = open_page(f"/playground/?deployment={engine.deployment}&with={second.deployment}")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Your message").fill("Hi\nyou")
    page.keyboard.press("Enter")
    for pane in "ab":
        expect(answers(page, pane)).to_contain_text("How are you?")
        expect(page.locator(f"#measured-{pane}")).to_contain_text(re.compile(r"TTFT \d+ ms"))
    answered(page)
    page.get_by_label("Your message").fill("More")
    page.get_by_role("button", name="Send").click()
    expect(answers(page, "b")).to_have_count(2)
    expect(answers(page, "a")).to_have_count(2)
    for each in (engine, second):
        assert [len(asked["messages"]) for asked in each.asked] == [1, 3]
        assert each.asked[0]["seed"] == 7 and each.asked[0]["messages"][0]["content"] == "Hi\nyou"
    shoot(page, "playground-compare-light")


def test_the_talk_is_kept_in_this_tab_alone(open_page, engine):
    page = open_page(f"/playground/?deployment={engine.deployment}")
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Your message").fill("Remember me")
    page.keyboard.press("Enter")
    answered(page)
    page.goto("/hosts/")
    page.goto("/playground/")
    expect(page.locator("#turns-a .turn-user .words")).to_have_text("Remember me")
    expect(answers(page, "a")).to_contain_text("How are you?")
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")
    expect(page.locator("#deployment-a")).to_have_value(str(engine.deployment))
    other = page.context.new_page()
    other.goto("/playground/")
    expect(other.locator(".turn")).to_have_count(0)
    page.get_by_role("button", name="New chat").click()
    page.reload()
    expect(page.locator(".turn")).to_have_count(0)


def test_a_choice_stays_when_the_socket_renders_the_choices(open_page, engine, deploy, move):
    page = open_page(f"/playground/?deployment={engine.deployment}")
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    pk = deploy("aaa-first")
    expect(page.locator(f"#deployment-a option[value='{pk}']")).to_have_count(1)
    move(pk, "placing")
    expect(page.locator(f"#deployment-a option[value='{pk}']")).to_have_text("aaa-first (placing)")
    expect(page.locator("#deployment-a")).to_have_value(str(engine.deployment))


def test_a_refusal_stays_over_a_reload_and_can_be_tried_again_or_left(
    open_page, site, deploy, move, known_to_gateway, allowed_noise
):
    allowed_noise += ["503"]
    engine = FakeEngine()
    name = f"late-{engine.port}"
    pk = deploy(name)
    known_to_gateway(pk, name, 503)
    page = open_page(f"/playground/?deployment={pk}")
    for text in ("Hello?", "Are you there?"):
        page.get_by_label("Your message").fill(text)
        page.keyboard.press("Enter")
        expect(page.locator("#turns-a").get_by_role("alert").last).to_contain_text(name)
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.reload()
    expect(page.locator("#turns-a").get_by_role("alert")).to_have_count(2)
    expect(page.locator("#turns-a").get_by_role("alert").last).to_contain_text(name)
    move(pk, "placing", "starting", "loading", "ready")
    site.do(READY.format(pk=pk, port=engine.port))
    known_to_gateway(pk, name, 200)
    engine.asked.clear()
    # Once: the earlier question was left as it is.
    page.get_by_role("button", name="Try again").click()
    answered(page)
    expect(page.locator(".turn-error")).to_have_count(1)
    page.get_by_label("Your message").fill("And now?")
    page.keyboard.press("Enter")
    expect(answers(page, "a")).to_have_count(2)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    told = [[(turn["role"], turn["content"]) for turn in asked["messages"]] for asked in engine.asked]
    said = ("assistant", "Hello there, <b>friend</b>!\nHow are you?")
    assert told == [
        [("user", "Are you there?")],
        [("user", "Are you there?"), said, ("user", "And now?")],
    ]
    engine.stop()


def test_the_whole_answer_is_read_out_once(open_page, engine):
    page = open_page(f"/playground/?deployment={engine.deployment}")
    page.get_by_label("Your message").fill("Hi")
    page.keyboard.press("Enter")
    expect(page.locator("#read-out[role=status]")).to_contain_text(
        re.compile(r"parrot-\d+: Hello there, .*\s+How are you\?")
    )
    expect(page.locator("#turns-a")).to_have_attribute("aria-live", "off")


def test_shift_and_enter_begin_a_line(open_page, engine):
    page = open_page(f"/playground/?deployment={engine.deployment}")
    page.get_by_label("Your message").fill("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.get_by_label("Your message").input_value() == "one\ntwo"
    assert engine.asked == []


def test_the_chat_as_code_works_as_it_is_shown(open_page, site, engine):
    key = site.do(KEY)
    page = open_page(f"/playground/?deployment={engine.deployment}")
    page.get_by_label("System prompt").fill("""It's "odd" \\ $HOME `x` <b>""")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Your message").fill("Hi")
    page.keyboard.press("Enter")
    answered(page)
    wanted = engine.asked[-1]["messages"] + [
        {"role": "assistant", "content": "Hello there, <b>friend</b>!\nHow are you?"}
    ]
    codes = {name: page.locator(f"#code-{name}").text_content() for name in ("curl", "python", "javascript")}
    assert all("YOUR_API_KEY" in code for code in codes.values())
    engine.asked.clear()
    run = {"text": True, "capture_output": True, "timeout": 120, "env": {**os.environ, "NO_PROXY": "127.0.0.1"}}
    curl = subprocess.run(["bash", "-c", codes["curl"].replace("YOUR_API_KEY", key)], **run)
    assert "data: [DONE]" in curl.stdout, curl.stderr
    python = subprocess.run([sys.executable, "-c", codes["python"].replace("YOUR_API_KEY", key)], **run)
    assert "Hello there" in python.stdout, python.stderr
    said = page.evaluate(
        "async (code) => { const said = []; const console = { log: (text) => said.push(text) };"
        " await Object.getPrototypeOf(async () => {}).constructor('console', code)(console); return said; }",
        codes["javascript"].replace("YOUR_API_KEY", key),
    )
    assert said == ["Hello there, <b>friend</b>!\nHow are you?"]
    assert [asked["messages"] for asked in engine.asked] == [wanted] * 3, json.dumps(engine.asked)
    assert all(asked["temperature"] == 0.5 and asked["max_tokens"] == 512 for asked in engine.asked)


@pytest.fixture
def all_else_stopped(site):
    """Deployments of other tests are none to choose for the time of this one."""
    stop = (
        "from webapp.deployments.models import Deployment\n"
        "rows = Deployment.objects.filter(desired_state='running')\n"
        "result = list(rows.values_list('pk', flat=True))\n"
        "rows.update(desired_state='stopped')"
    )
    stopped = site.do(stop)
    yield
    site.do(
        "from webapp.deployments.models import Deployment\n"
        f"Deployment.objects.filter(pk__in={stopped}).update(desired_state='running')"
    )


def test_while_nothing_is_ready_the_page_says_so_and_sends_nothing_until_something_is(
    open_page, all_else_stopped, deploy, move
):
    page = open_page("/playground/")
    expect(page.locator("main")).to_contain_text("No running deployments you can use")
    pk = deploy("still-loading")
    move(pk, "placing", "starting", "loading")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    choice = page.locator("#deployment-a")
    expect(choice.locator("option:checked")).to_have_text("none is ready to chat")
    expect(choice.locator(f"option[value='{pk}']")).to_be_disabled()
    page.get_by_label("Your message").fill("Hello?")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.keyboard.press("Enter")
    move(pk, "ready")
    expect(choice).to_have_value(str(pk))
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    # What was typed meanwhile waits for a person.
    expect(page.get_by_label("Your message")).to_have_value("Hello?")
    expect(page.locator(".turn")).to_have_count(0)
