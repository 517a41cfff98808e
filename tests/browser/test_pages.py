"""Pages in a real browser: live, honest when they are not, quiet in the console, and good to look at."""

import re
import signal

import pytest
from playwright.sync_api import expect

from tests.parts import figures

pytestmark = pytest.mark.browser

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


# What sticks out of the window, unless it scrolls in a box of its own.
TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter((part) => part.getBoundingClientRect().right > window.innerWidth + 1)
    .filter((part) => !part.closest(".table-responsive, dialog"))
    .map((part) => `${part.tagName}.${part.className.baseVal ?? part.className}`)"""


SEE = """(text) => {
    const look = () => {
        if (!document.getElementById("deployment-panel").textContent.includes(text)) return;
        window.seenAt = Date.now();
        watch.disconnect();
    };
    const watch = new MutationObserver(look);
    watch.observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def is_live(page):
    expect(page.locator("html")).to_have_attribute("data-live", "live")


def test_signing_in_leads_to_the_page_one_wanted(open_page, site, shoot):
    page = open_page("/keys/", signed_in=False)
    expect(page).to_have_url(re.compile(r"/accounts/login/\?next=/keys/"))
    shoot(page, "login-light")
    page.get_by_label("Username or email").fill("bob")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Password").fill("bob-has-a-password")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(site.url + "/keys/")
    page.get_by_text("bob", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/accounts/login/"))


def test_the_list_follows_without_a_reload(open_page, deploy, move):
    page = open_page("/deployments/")
    is_live(page)
    page.evaluate("window.stillHere = true")
    pk = deploy("followed")
    row = page.locator(f"#deployment-{pk}")
    expect(row).to_contain_text("pending")
    move(pk, "placing", "starting", "loading")
    expect(row).to_contain_text("loading")
    move(pk, "ready")
    expect(row).to_contain_text("1 / 1")
    assert page.evaluate("window.stillHere")


def test_a_search_stays_a_search_when_the_socket_renders(open_page, deploy, move):
    pk = deploy("needle")
    deploy("haystack")
    page = open_page("/deployments/")
    is_live(page)
    page.keyboard.press("f")
    page.keyboard.type("needle")
    expect(page).to_have_url(re.compile(r"\?q=needle"))
    expect(page.get_by_role("link", name="haystack")).to_have_count(0)
    move(pk, "placing")
    expect(page.locator(f"#deployment-{pk}")).to_contain_text("placing")
    expect(page.get_by_role("link", name="haystack")).to_have_count(0)
    expect(page.get_by_label("Search", exact=True)).to_have_value("needle")


def test_a_dead_web_process_is_shown_and_what_was_missed_is_caught_up(open_page, site, deploy, move, allowed_noise):
    # A chart that wants newer numbers meanwhile is told by the gateway to come again.
    allowed_noise += ["WebSocket", "ERR_CONNECTION_REFUSED", "htmx:ws:error", "503"]
    pk = deploy("survivor")
    page = open_page(f"/deployments/{pk}/")
    is_live(page)
    expect(page.locator(f"#charts-deployment-{pk}[data-chart-url]")).to_be_attached()
    page.evaluate("window.stillHere = true")
    site.kill_web()
    expect(page.get_by_text("reconnecting…")).to_be_visible()
    move(pk, "placing", "failed", text="The disk is full.", advice="Free some space.")
    site.start_web()
    expect(page.get_by_text("reconnecting…")).to_be_hidden()
    expect(page.locator("#deployment-panel")).to_contain_text("The disk is full.")
    assert page.evaluate("window.stillHere")


@pytest.mark.slow
def test_a_connection_that_died_without_a_word_is_noticed_and_made_anew(open_page, site, deploy, move, allowed_noise):
    allowed_noise += ["WebSocket", "htmx:ws:error"]
    pk = deploy("half-open")
    page = open_page(f"/deployments/{pk}/")
    is_live(page)
    # What is still being asked for when nobody answers any more would be a complaint of its own.
    expect(page.locator(f"#charts-deployment-{pk}[data-chart-url]")).to_be_attached()
    site.web.send_signal(signal.SIGSTOP)
    try:
        expect(page.get_by_text("reconnecting…")).to_be_visible(timeout=120_000)
    finally:
        site.web.send_signal(signal.SIGCONT)
    is_live(page)
    move(pk, "placing")
    expect(page.locator("#deployment-panel")).to_contain_text("placing")


def test_a_change_is_on_the_screen_of_an_open_page(open_page, deploy, move, site):
    pk = deploy("swift")
    replica = move(pk, "placing", "starting", "loading")
    page = open_page(f"/deployments/{pk}/")
    is_live(page)
    delays = []
    for step in range(10):
        # The page writes down when the text appeared; both clocks are this machine's.
        page.evaluate(SEE, f"step {step}.")
        committed = site.do(
            "from webapp.deployments import lifecycle; import time; "
            f"lifecycle.record_progress({replica}, {step / 10}, 'step {step}.'); result = time.time()"
        )
        expect(page.locator("#deployment-panel")).to_contain_text(f"step {step}.")
        delays.append(page.evaluate("window.seenAt") / 1000 - committed)
    print(f"commit to screen: {sorted(round(delay * 1000) for delay in delays)} ms")
    figures.tell("commit to the screen of an open page (median)", sorted(delays)[len(delays) // 2], 1, "s")


def test_without_a_broker_pages_open_and_go_on_by_the_poll(open_page, site, deploy, move):
    pk = deploy("unbroken")
    site.kill_broker()
    try:
        page = open_page(f"/deployments/{pk}/")
        is_live(page)
        move(pk, "placing")
        expect(page.locator("#deployment-panel")).to_contain_text("placing", timeout=120_000)
    finally:
        site.start_broker()


def test_the_log_grows_as_text_and_is_searched(open_page, site, deploy, move):
    pk = deploy("talkative")
    replica = move(pk, "placing", "starting", "loading")
    say = f"from webapp.deployments.lifecycle import append_log; append_log({replica}, 1, 1, {{!r}}, 'now')"
    page = open_page(f"/deployments/{pk}/")
    is_live(page)
    expect(page.get_by_text("No log output yet.")).to_be_visible()
    site.do(say.format("<script>window.hacked = 1</script><img src=x>\x1b[31mred\n"))
    log = page.locator("[data-log]")
    expect(log).to_have_text("<script>window.hacked = 1</script><img src=x>red")
    site.do(say.format("second line\n"))
    expect(log).to_contain_text("second line")
    page.get_by_placeholder("Search logs").fill("second")
    expect(log).to_have_text("second line")
    assert page.evaluate("window.hacked") is None


def test_a_deployment_is_made_with_the_fit_in_sight_and_deleted_by_name(open_page, site):
    page = open_page("/deployments/new/")
    expect(page.locator("#fit")).to_contain_text("Weights (Q8_0)")
    page.get_by_label("Context length").fill("8388608")
    expect(page.locator("#id_options-context_length_errors")).to_have_text("A number from 256 to 1,048,576.")
    expect(page.locator("#fit")).to_contain_text("Context length: ")
    page.get_by_label("Context length").fill("65536")
    page.get_by_role("button", name="Use 8,192").click()
    expect(page.get_by_label("Context length")).to_have_value("8192")
    expect(page.locator("#fit")).not_to_contain_text("trained for")
    expect(page.locator("#id_options-context_length_errors")).to_be_empty()
    page.get_by_label("Context length").fill("1048576")
    page.get_by_label("Parallel requests (slots)").fill("64")
    expect(page.locator("#fit")).to_contain_text("It needs")
    page.get_by_label("Context length").fill("2048")
    page.get_by_label("Parallel requests (slots)").fill("1")
    expect(page.locator("#fit")).to_contain_text("fits")
    page.get_by_label("Name", exact=True).fill("made-here")
    page.get_by_role("button", name="Deploy").click()
    expect(page).to_have_url(re.compile(r"/deployments/\d+/$"))
    expect(page.get_by_role("heading", name="made-here")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopping made-here")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    page.get_by_role("link", name="Delete").click()
    page.get_by_label("Type made-here").fill("made-here")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("tr", has_text="made-here")).to_contain_text("deleting")


def test_a_key_is_shown_once_and_revoked(open_page):
    page = open_page("/keys/new/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create").click()
    text = page.locator("#key-text").inner_text()
    assert re.fullmatch(r"my_[0-9a-f]{8}_[\w-]{43}", text)
    expect(page.locator("#snippet-1")).to_contain_text(text)
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text(text)).to_have_count(0)
    page.get_by_role("link", name="Revoke laptop").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.locator("tr", has_text="laptop")).to_contain_text("revoked")


def test_the_keys_overlay_and_the_theme_switch(open_page):
    page = open_page("/", color_scheme="light")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page).to_have_url(re.compile("/deployments/$"))


def test_everything_that_matters_works_without_javascript(open_page, deploy):
    pk = deploy("plain")
    page = open_page(f"/deployments/{pk}/", java_script_enabled=False)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopping plain")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("Starting plain")).to_be_visible()
    page.goto("/deployments/?q=plain&sort=-name")
    expect(page.locator("#deployments tbody tr")).to_have_count(1)
    page.goto("/deployments/new/")
    page.get_by_label("Name", exact=True).fill("plain-too")
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_text("plain-too is starting")).to_be_visible()


def test_a_chat_streams_and_is_measured(open_page, engine, shoot):
    page = open_page(f"/playground/?deployment={engine.deployment}")
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Your message").fill("Hi")
    page.keyboard.press("Enter")
    # Hostile words of a model are words.
    expect(page.locator(".turn-assistant .words")).to_have_text("Hello there, <b>friend</b>!\nHow are you?")
    measured = page.locator("#measured-a")
    expect(measured).to_contain_text(re.compile(r"TTFT \d+ ms · [\d.]+ tokens/s · 8 tokens · 5 prompt tokens"))
    asked = engine.asked[0]
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert asked["temperature"] == 0.5
    page.locator("summary", has_text="curl").click()
    expect(page.locator("#code-curl")).to_contain_text('"content":"Be brief."')
    shoot(page, "playground-chat-light")


def test_stopping_an_answer_reaches_the_engine(open_page, engine):
    engine.pause_s, engine.answers = 0.05, 100_000
    page = open_page(f"/playground/?deployment={engine.deployment}")
    page.get_by_label("Your message").fill("Talk")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn-assistant .words")).to_contain_text("How are you")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#measured-a")).to_contain_text("stopped")
    assert engine.left.wait(120)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    # The tab keeps that it was, with the words that came, and who said them.
    for _before_and_after in range(2):
        expect(page.locator(".turn-assistant .turn-mark")).to_have_text("stopped")
        expect(page.locator(".turn-assistant h3")).to_have_text(re.compile("parrot-"))
        page.reload()
        expect(page.locator(".turn-assistant .words")).to_contain_text("How are you")


def test_a_model_that_is_not_up_says_so_in_the_chat(open_page, deploy, known_to_gateway, allowed_noise):
    allowed_noise += ["503"]
    pk = deploy("asleep")
    known_to_gateway(pk, "asleep", 503)
    page = open_page(f"/playground/?deployment={pk}")
    page.get_by_label("Your message").fill("Hello?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn-error")).to_contain_text("asleep")


SCENERY = """
from django.utils import timezone
from webapp.accounts.models import User
from webapp.catalog.models import Artifact
from webapp.deployments import lifecycle
from webapp.deployments.models import Deployment, Replica
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.states import JobState
host = Host.objects.get()
ready = Replica.objects.get(deployment__name="chat-small")
inventory.reserve(ready.reservation_owner, host.pk, 1_500_000_000, {host.accelerators.get().pk: 9_000_000_000})
Replica.objects.filter(pk=ready.pk).update(host=host, address="172.31.5.3", port=8080,
    estimate=[dict(name="weights", label="Weights (Q8_0)", bytes=143_000_000, basis="exact"),
              dict(name="kv_cache", label="KV cache, 2 x 4096 tokens (f16)", bytes=188_743_680, basis="exact"),
              dict(name="compute_buffer", label="Compute buffers", bytes=9_000_000, basis="estimate")],
    observed={"CPU weights": 143_000_000, "CPU kv_cache": 188_743_680})
lines = [f"srv  log line {number}: slot released, n_tokens = {number * 7}\\n" for number in range(60)]
lifecycle.append_log(ready.pk, 1, 1, "".join(lines), "now")
loading = Replica.objects.get(deployment__name="summaries")
lifecycle.record_progress(loading.pk, 0.42, "reading tensors")
ada, team = User.objects.get(username="ada"), Deployment.objects.first().team
job = jobs.queue_fetch(ada, team, Artifact.objects.get(), host, {"source_path": "/srv/models/smollm2.gguf"})
jobs.move(job, JobState.QUEUED, JobState.RUNNING, "", started_at=timezone.now())
jobs.record_progress(job.pk, "copy", 61_000_000, 144_811_072, "bytes")
result = [job.pk, ready.deployment_id]
"""


@pytest.fixture(scope="module")
def scenery(site):
    from tests.browser.conftest import MAKE, MOVE

    for name, states, text, advice in (
        ("chat-small", ("placing", "starting", "loading", "ready"), "", ""),
        ("summaries", ("placing", "starting", "loading"), "", ""),
        ("too-big", ("placing", "failed"), "No suitable host. local: 31.02 GiB are needed and 22.40 GiB are free.",
         "Choose a smaller quantisation or a shorter context."),
    ):  # fmt: skip
        pk = site.do(MAKE.format(name=name, replicas=1))
        site.do(MOVE.format(pk=pk, number=1, states=states, text=text, advice=advice))
    return site.do(SCENERY)


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_in_every_look(open_page, scenery, shoot, look):
    job, deployment = scenery
    pages = {
        "home": "/",
        "deployments": "/deployments/",
        "deployment": f"/deployments/{deployment}/",
        "deployment-new": "/deployments/new/",
        "deployment-delete": f"/deployments/{deployment}/delete/",
        "log": f"/deployments/{deployment}/log/1/",
        "models": "/models/",
        "model": "/models/smollm2-135m-instruct/",
        "import": "/models/import/",
        "jobs": "/jobs/",
        "job": f"/jobs/{job}/",
        "hosts": "/hosts/",
        "host": "/hosts/1/",
        "keys": "/keys/",
        "key-new": "/keys/new/",
        "playground": "/playground/",
        "help": "/help/",
        "password": "/accounts/password/change/",
    }
    page = open_page("/", **LOOKS[look])
    for name, path in pages.items():
        page.goto(path)
        if page.locator("#live").count():
            is_live(page)
        assert page.evaluate(TOO_WIDE) == [], f"{name} is too wide"
        shoot(page, f"{name}-{look}")


def test_what_is_not_there_says_so(open_page, shoot, allowed_noise):
    allowed_noise += ["404"]
    page = open_page("/deployments/99999/")
    expect(page.get_by_text("Page not found")).to_be_visible()
    expect(page.get_by_text("Request ID")).to_be_visible()
    shoot(page, "404-light")
