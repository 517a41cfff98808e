"""A browser in front of a site of its own; every page is watched for errors, violations and requests to elsewhere."""

import itertools
import os
import re
from pathlib import Path

import pytest

from tests.browser.fake_engine import FakeEngine
from tests.browser.site import Site, wait_until
from tests.parts import browser

# A picture of a whole page costs a quarter of a second and proves nothing: taken for whoever names a folder.
OUTPUT = os.environ.get("MODELYARD_TEST_OUTPUT")
NUMBERS = itertools.count(1)

STAGE = """
from webapp.accounts.models import Membership, User
from webapp.accounts.services import create_first_admin
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel
from webapp.inventory import services as inventory
from django.utils import timezone
GIB = 1024**3
ada, team = create_first_admin("ada", "ada-has-a-password", "Research")
bob = User.objects.create_user("bob", password="bob-has-a-password")
Membership.objects.create(user=bob, team=team)
host = inventory.register_host(None, "local", "unix:///var/run/docker.sock")
gpu = inventory.AcceleratorFacts(index=0, uuid="GPU-0", vendor="nvidia", name="NVIDIA L4", memory_bytes=24 * GIB)
inventory.record_facts(host.pk, inventory.HostFacts(daemon_id="d", cpu_count=16, memory_bytes=64 * GIB,
    disk_total_bytes=500 * GIB, disk_free_bytes=200 * GIB,
    facts={"operating_system": "Debian GNU/Linux 12", "docker_version": "27.1.2"}, accelerators=(gpu,)))
inventory.record_engine_network(host.pk, "modelyard-engines", "172.31.5.0/24")
model = CatalogModel.objects.create(name="SmolLM2 135M Instruct", slug="smollm2-135m-instruct", architecture="llama",
    parameters=134_515_008, context_length=8192, licence="apache-2.0")
artifact = Artifact.objects.create(catalog_model=model, format="gguf", quantisation="Q8_0", main_file="smollm2.gguf",
    size_bytes=144_811_072, files=[{"name": "smollm2.gguf", "size_bytes": 144_811_072, "sha256": "ab" * 32}],
    facts={"architecture": "llama", "layers": 30, "heads": 9, "kv_heads": 3, "embedding_length": 576,
        "vocabulary": 49152, "feed_forward_length": 1536, "weights_bytes": 143_000_000, "mapped_bytes": 143_000_000,
        "parameters": 134_515_008, "context_length": 8192, "quantisation": "Q8_0",
        "kv_groups": [{"layers": 30, "key_elements": 192, "value_elements": 192}]})
ArtifactCopy.objects.create(artifact=artifact, host=host, state="present", verified_at=timezone.now())
result = ada.pk
"""

MAKE = """
from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact
from webapp.deployments import services
asked = services.DeploymentSpec(name={name!r}, artifact=Artifact.objects.get(), replicas={replicas})
result = services.create(User.objects.get(username="ada"), Team.objects.get(slug="research"), asked).pk
"""

MOVE = """
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
replica = Replica.objects.select_related("deployment").get(deployment_id={pk}, number={number})
for state in {states!r}:
    why = lifecycle.Reason(code="test", text={text!r}, advice={advice!r})
    assert lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), why)
result = replica.pk
"""


TOKEN = """
from webapp.accounts.models import User
from webapp.accounts.services import inference_token
from webapp.deployments.models import Deployment
deployment = Deployment.objects.select_related("team").get(pk={pk})
result = inference_token(User.objects.get(username="ada"), deployment.team, [deployment.pk])
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        site.start()
        site.do(STAGE)
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def chromium():
    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="session")
def session_of_ada(site, chromium):
    """Signed in once by the form."""
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Username or email").fill("ada")
    page.get_by_label("Password").fill("ada-has-a-password")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(site.url + "/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def allowed_noise():
    """Patterns of console lines that a test provokes on purpose."""
    return [r"WebSocket is closed before the connection is established"]  # a page that is left at once


@pytest.fixture
def open_page(site, chromium, session_of_ada, allowed_noise):
    """Opens pages as ada; fails the test when one of them complained or asked anybody else."""
    contexts, complaints = [], []

    def watch(page):
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "console",
            lambda line: complaints.append(f"{line.type}: {line.text}") if line.type in ("error", "warning") else None,
        )
        page.on(
            "request", lambda request: complaints.append(f"elsewhere: {request.url}") if _elsewhere(request) else None
        )

    def _elsewhere(request):
        return not request.url.startswith((site.url, site.url.replace("http", "ws"), "data:", "blob:"))

    def opener(path="/", signed_in=True, **options):
        context = chromium.new_context(
            base_url=site.url, storage_state=session_of_ada if signed_in else None, **options
        )
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(path)
        return page

    yield opener
    for context in contexts:
        context.close()
    left = [text for text in complaints if not any(re.search(pattern, text) for pattern in allowed_noise)]
    assert not left


@pytest.fixture
def deploy(site):
    """Ask for a deployment; workers there are none, so it stays as it is told."""
    return lambda name, replicas=1: site.do(MAKE.format(name=name, replicas=replicas))


@pytest.fixture
def move(site):
    """Walk a replica through states as workers would."""

    def walk(pk, *states, number=1, text="", advice=""):
        return site.do(MOVE.format(pk=pk, number=number, states=states, text=text, advice=advice))

    return walk


@pytest.fixture
def known_to_gateway(site):
    """Wait for the gateway's next snapshot: until it answers for this deployment as it should."""

    def wait(pk, name, status):
        token = site.do(TOKEN.format(pk=pk))
        wait_until(lambda: site.status("/v1/chat/completions", token, {"model": name, "stream": True}) == status)

    return wait


@pytest.fixture
def engine(site, deploy, move, known_to_gateway):
    """A deployment called `parrot` whose replica is a fake engine on this machine."""
    engine = FakeEngine()
    # Not by its port: the system gives the same one twice in a few thousand.
    name = f"parrot-{next(NUMBERS)}"
    pk = deploy(name)
    move(pk, "placing", "starting", "loading", "ready")
    site.do(
        "from webapp.deployments.models import Replica; from webapp.foundation.events.services import publish\n"
        "from webapp.foundation.events.topics import ROUTES\n"
        f"Replica.objects.filter(deployment_id={pk}).update(address='127.0.0.1', port={engine.port})\n"
        "publish(ROUTES)"
    )
    engine.deployment = pk
    known_to_gateway(pk, name, 200)
    engine.asked.clear()
    yield engine
    engine.stop()


@pytest.fixture
def shoot():
    """Keep a screenshot in the folder MODELYARD_TEST_OUTPUT, where one is named."""

    def take(page, name: str) -> None:
        if OUTPUT:
            page.screenshot(path=Path(OUTPUT) / "screenshots" / f"{name}.png", full_page=True)

    return take
