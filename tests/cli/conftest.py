"""A running Modelyard and a person at its command line."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.browser.site import Site
from webapp.interfaces.cli.main import main

STAGE = """
from webapp.accounts.models import Membership, Team, User
from webapp.accounts.services import create_first_admin, create_key
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel
from webapp.inventory import services as inventory
from django.utils import timezone
GIB = 1024**3
root, team = create_first_admin("root", "root-has-a-password", "Research")
ada = User.objects.create_user("ada", password="ada-has-a-password")
Membership.objects.create(user=ada, team=team, role="admin")
eve = User.objects.create_user("eve", password="eve-has-a-password")
Membership.objects.create(user=eve, team=Team.objects.create(name="Strangers", slug="strangers"), role="admin")
host = inventory.register_host(None, "local", "unix:///var/run/docker.sock")
inventory.record_facts(host.pk, inventory.HostFacts(daemon_id="d", cpu_count=16, memory_bytes=64 * GIB,
    disk_total_bytes=500 * GIB, disk_free_bytes=200 * GIB, facts={}, accelerators=()))
inventory.record_engine_network(host.pk, "modelyard-engines", "172.31.5.0/24")
model = CatalogModel.objects.create(name="SmolLM2", slug="smollm2", architecture="llama", parameters=134_515_008,
    context_length=8192, licence="apache-2.0")
facts = {"architecture": "llama", "layers": 30, "heads": 9, "kv_heads": 3, "embedding_length": 576,
    "vocabulary": 49152, "feed_forward_length": 1536, "weights_bytes": 143_000_000, "mapped_bytes": 143_000_000,
    "parameters": 134_515_008, "context_length": 8192, "quantisation": "Q8_0",
    "kv_groups": [{"layers": 30, "key_elements": 192, "value_elements": 192}]}
for quantisation in ("Q8_0", "Q4_K_M"):
    artifact = Artifact.objects.create(catalog_model=model, format="gguf", quantisation=quantisation,
        main_file=f"smollm2-{quantisation}.gguf", size_bytes=144_811_072, facts=facts,
        files=[{"name": f"smollm2-{quantisation}.gguf", "size_bytes": 144_811_072, "sha256": "ab" * 32}])
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present", verified_at=timezone.now())
result = {user.username: create_key(user, user.teams.first(), "cli")[1] for user in (root, ada, eve)}
"""


@dataclass
class Stack:
    """The site, and a key of everybody."""

    site: Site
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return self.site.url


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("cli-site"))
    try:
        site.start()
        yield Stack(site, site.do(STAGE))
    finally:
        site.stop()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A person's own folder, and nothing in the environment."""
    for name in ("MODELYARD_URL", "MODELYARD_API_KEY", "MODELYARD_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def modelyard(home, capsys):
    """Runs a command line in this process: modelyard("deployments", "list")."""

    def run(*words: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(list(words))
        said = capsys.readouterr()
        return Result(int(left.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def as_person(modelyard, stack, monkeypatch):
    """The command line with somebody's key: as_person("ada")."""

    def become(name: str = "ada"):
        monkeypatch.setenv("MODELYARD_URL", stack.url)
        monkeypatch.setenv("MODELYARD_API_KEY", stack.keys[name])
        return modelyard

    return become


@pytest.fixture
def ada(as_person):
    return as_person("ada")
