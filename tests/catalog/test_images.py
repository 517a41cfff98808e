"""Which images may run: a list that everything asks which starts what people named."""

import pytest
from django.test import Client

from tests.parts.images import allow
from webapp import engines
from webapp.accounts.models import AuditEntry
from webapp.catalog import images
from webapp.catalog.image_names import ImageName, parse_image
from webapp.catalog.models import AllowedImage
from webapp.deployments import services
from webapp.deployments.models import Deployment
from webapp.deployments.spec import DeploymentPatch, DeploymentSpec
from webapp.foundation.errors import Conflict, Invalid, NotAllowed

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("llama", "docker.io/library/llama", "", ""),
        ("me/llama:1.2", "docker.io/me/llama", "1.2", ""),
        ("docker.io/llama", "docker.io/library/llama", "", ""),
        ("index.docker.io/me/llama", "docker.io/me/llama", "", ""),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", "ghcr.io/ggml-org/llama.cpp", "server-cuda", ""),
        ("localhost/llama", "localhost/llama", "", ""),
        ("registry:5000/a/b/c:x", "registry:5000/a/b/c", "x", ""),
        ("10.0.0.5:5000/llama", "10.0.0.5:5000/llama", "", ""),
        ("GHCR.io/me/llama", "ghcr.io/me/llama", "", ""),
        (f"me/llama:1@{A}", "docker.io/me/llama", "1", A),
        (f"me/llama@{A}", "docker.io/me/llama", "", A),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text, repository, tag, digest):
    assert parse_image(text) == ImageName(repository, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "Llama", "me/Llama", "me//llama", "/me/llama", "me/llama/", "me/llama:", "me/llama:a b", "me/llama@",
        "me/llama@sha256:short", f"me/llama@{A.upper()}", "me/llama\n", "https://ghcr.io/me/llama", A, "me/../llama",
        "me/llama:t\u202eag", "x" * 201, "ghcr.io/me/llama:1:2", "-me/llama", "a" * 64,
    ],
)  # fmt: skip
def test_what_docker_would_not_read_is_no_name(text):
    with pytest.raises(ValueError, match="no name of an image"):
        parse_image(text)


pytestmark = pytest.mark.django_db


def test_every_image_of_every_engine_may_run():
    for engine in engines.all():
        for vendor in ("cpu", "nvidia", "amd", "intel"):
            for image in engine.images(vendor):
                images.check(image)


@pytest.mark.parametrize("image", ["", "ghcr.io/ggml-org/llama.cpp:server-b9000", "vllm/vllm-openai:v0.20.0"])
def test_other_versions_of_an_engines_own_repository_may_run(image):
    images.check(image)


@pytest.mark.parametrize(
    "image",
    [
        "me/llama:1", "debian", "ghcr.io/ggml-org/llama.cpp-evil:server", "evil.example/ggml-org/llama.cpp:server",
        "localhost/vllm/vllm-openai:latest", "0123456789ab", "no name",
        # Nobody has built these here, and a registry may have something by that name.
        "modelyard/llamacpp:other", "docker.io/modelyard/llamacpp:cpu", "modelyard/evil:1",
    ],
)  # fmt: skip
def test_every_other_image_is_refused_with_the_way_out(image):
    with pytest.raises(Invalid, match="Settings > Images") as refused:
        images.check(image)
    assert "image" in refused.value.fields


def test_an_allowed_repository_runs_with_every_tag_and_an_allowed_image_by_its_digest_alone(root):
    images.allow(root, "me/llama")
    images.allow(root, f"ghcr.io/me/engine@{A}")
    for image in ("me/llama", "me/llama:1", "docker.io/me/llama:2", f"me/llama@{B}", f"ghcr.io/me/engine:1@{A}"):
        images.check(image)
    for image in ("ghcr.io/me/engine", "ghcr.io/me/engine:1", f"ghcr.io/me/engine@{B}", "me/llama2"):
        with pytest.raises(Invalid):
            images.check(image)
    with pytest.raises(Invalid, match=f"@{A}"):
        images.check("ghcr.io/me/engine:1")


def test_a_tag_is_no_limit_and_a_name_stands_once(root):
    with pytest.raises(Invalid, match="tag can be moved"):
        images.allow(root, "me/llama:1")
    images.allow(root, "me/llama")
    with pytest.raises(Conflict, match="already"):
        images.allow(root, "docker.io/me/llama")


def test_only_installation_admins_say_what_may_run_and_it_is_written_down(root, ada):
    with pytest.raises(NotAllowed):
        images.allow(ada, "me/llama")
    row = images.allow(root, f"me/llama@{A}")
    with pytest.raises(NotAllowed):
        images.forbid(ada, row)
    images.forbid(root, row)
    written = AuditEntry.objects.filter(verb__startswith="image.").order_by("id")
    assert [(entry.verb, entry.detail["repository"], entry.detail["only"]) for entry in written] == [
        ("image.allow", "docker.io/me/llama", A), ("image.forbid", "docker.io/me/llama", A),
    ]  # fmt: skip
    assert not AllowedImage.objects.exists()


@pytest.fixture
def running(ada, team, artifact):
    """A deployment with an image that was allowed when it was made and no longer is."""
    allow("me/llama")
    made = services.create(ada, team, DeploymentSpec("chat", artifact=artifact, image="me/llama:1"))
    AllowedImage.objects.all().delete()
    return made


def test_nobody_asks_for_an_image_that_is_not_allowed(ada, root, team, artifact, deployment):
    for user in (ada, root):
        with pytest.raises(Invalid, match="not allowed"):
            services.create(user, team, DeploymentSpec("other", artifact=artifact, image="me/llama:1"))
        with pytest.raises(Invalid, match="not allowed"):
            services.check(user, team, DeploymentSpec("other", artifact=artifact, image="me/llama:1"))
        with pytest.raises(Invalid, match="not allowed"):
            services.edit(user, deployment, DeploymentPatch({"image": "me/llama:1"}))
        with pytest.raises(Invalid, match="not allowed"):
            services.check_edit(user, deployment, DeploymentPatch({"image": "me/llama:1"}))
    assert not Deployment.objects.exclude(image="").exists()


def test_what_runs_goes_on_and_cannot_be_started_anew_before_it_is_allowed(running, ada):
    for verb in (
        lambda: services.restart(ada, running), lambda: services.start(ada, running),
        lambda: services.scale(ada, running, 2), lambda: services.edit(ada, running, DeploymentPatch({"options": {}})),
    ):  # fmt: skip
        with pytest.raises(Invalid, match="not allowed"):
            verb()
    running.refresh_from_db()
    assert (running.desired_state, running.replicas.present().count()) == ("running", 1)
    services.edit(ada, running, DeploymentPatch(replicas=0, aliases=("talk",)))
    with pytest.raises(Invalid, match="not allowed"):
        services.edit(ada, running, DeploymentPatch(replicas=1))
    allow("me/llama")
    services.start(ada, running)


def test_the_way_back_to_a_revision_asks_too(running, ada):
    services.edit(ada, running, DeploymentPatch({"image": ""}))
    running.refresh_from_db()
    with pytest.raises(Invalid, match="not allowed"):
        services.roll_back(ada, running, 1)


def test_the_page_lets_admins_allow_what_is_in_use(running, root, ada):
    client = Client()
    client.force_login(root)
    text = client.get("/models/images/").content.decode()
    assert "Research/chat" in text and "Allow docker.io/me/llama" in text and "modelyard/llamacpp:cpu" in text
    assert client.post("/models/images/", {"image": "docker.io/me/llama"}).status_code == 302
    assert "In use and not allowed" not in client.get("/models/images/").content.decode()
    assert client.post("/models/images/", {"image": "me/llama:1"}).status_code == 422
    row = AllowedImage.objects.get()
    other = Client()
    other.force_login(ada)
    text = other.get("/models/images/").content.decode()
    assert "docker.io/me/llama" in text and "Remove" not in text
    assert other.post("/models/images/", {"image": "me/other"}).status_code == 422
    other.post(f"/models/images/{row.pk}/forbid/")
    assert AllowedImage.objects.get() == row
    client.post(f"/models/images/{row.pk}/forbid/")
    assert not AllowedImage.objects.exists()
