"""The cast and the stage of all tests: ada owns, bob is on her team, eve is a stranger."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts import figures
from tests.parts.verdicts import Verdicts
from tests.stage import STATE

GIB = 1024**3


def pytest_configure(config: pytest.Config) -> None:
    """Run without a broker, without collected static files and with a fast password hash."""
    import hypothesis
    from django.conf import settings

    # The same examples each time: a red suite means that a change is wrong. MODELYARD_TEST_EXPLORE=1 looks further.
    # How long an example takes says something about the machine alone.
    patient = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    explores = bool(os.environ.get("MODELYARD_TEST_EXPLORE"))
    hypothesis.settings.register_profile("patient", derandomize=not explores, **patient)
    hypothesis.settings.load_profile("patient")

    if os.environ.get(figures.VARIABLE):
        config.pluginmanager.register(Verdicts())

    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    # Applying every migration takes seconds in each process; tests/operations/test_fresh.py says that it is the same.
    settings.DATABASES["default"].setdefault("TEST", {})["MIGRATE"] = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what touches the database: on another database nothing else needs to run again."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"db", "transactional_db"} or item.get_closest_marker("django_db"):
            item.add_marker("database")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables are made as in a new installation. Tests with real transactions empty all of them behind themselves,
    which the triggers of the audit log would refuse; tests/accounts/test_audit.py puts them back for itself."""
    from django.db import connection

    from webapp.accounts import audit_triggers
    from webapp.operations import fresh

    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        fresh.fill()
        audit_triggers.remove(editor)
    yield
    if connection.vendor == "postgresql":
        # Threads of a pool keep their sessions for as long as this process lives; no database is dropped beside one.
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            cursor.execute(f"SELECT pg_terminate_backend(pid) {others}")


@pytest.fixture(autouse=True)
def sent_tasks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Messages to the workers, caught at the border instead of being sent to a broker."""
    from webapp.foundation import work_queue

    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(work_queue, "send", lambda task, row_id, in_s=None: sent.append((task, row_id)))
    return sent


@pytest.fixture(autouse=True)
def memories() -> Iterator[None]:
    """What a process remembers beside the database, as it was before this test: the next one finds the same master
    keys, and asks again how people sign in."""
    from webapp.accounts import sign_in
    from webapp.foundation import key_ring

    key_ring.current()
    # By its own path: a test may still have another state folder when this ends.
    file = STATE / "secrets" / "master.key"
    before = file.read_bytes()
    sign_in.forget()
    yield
    if not file.exists() or file.read_bytes() != before:
        from webapp.operations import sessions_secret

        file.write_bytes(before)
        key_ring._known = None
        sessions_secret.renew()


@pytest.fixture
def import_dir() -> Path:
    """A folder that model files may be imported from."""
    return STATE / "import"


@pytest.fixture
def team(db: None) -> Any:
    from webapp.accounts.models import Team

    return Team.objects.create(name="Research", slug="research")


def _person(name: str, team: Any = None, role: str = "operator") -> Any:
    from webapp.accounts.models import Membership, User

    user = User.objects.create_user(username=name, email=f"{name}@example.org", password=f"{name}-has-a-password")
    if team is not None:
        Membership.objects.create(user=user, team=team, role=role)
    return user


@pytest.fixture
def ada(team: Any) -> Any:
    """Admin of the team; what the tests are about is hers."""
    return _person("ada", team, "admin")


@pytest.fixture
def bob(team: Any) -> Any:
    """An operator on ada's team."""
    return _person("bob", team)


@pytest.fixture
def eve(db: None) -> Any:
    """A stranger with a team of her own."""
    from webapp.accounts.models import Team

    return _person("eve", Team.objects.create(name="Strangers", slug="strangers"), "admin")


@pytest.fixture
def root(db: None) -> Any:
    """The person who runs this Modelyard."""
    from webapp.accounts.models import User

    return User.objects.create_superuser(username="root", email="", password="root-has-a-password")


@pytest.fixture
def host(db: None) -> Any:
    """A machine with two GPUs and 64 GiB."""
    from webapp.inventory import services as inventory

    host = inventory.register_host(None, "local", "unix:///var/run/docker.sock")
    gpus = tuple(
        inventory.AcceleratorFacts(
            index=index, uuid=f"GPU-{index}", vendor="nvidia", name="NVIDIA L4", memory_bytes=24 * GIB
        )
        for index in range(2)
    )
    inventory.record_facts(
        host.pk,
        inventory.HostFacts(
            daemon_id="daemon-1",
            cpu_count=16,
            memory_bytes=64 * GIB,
            disk_total_bytes=500 * GIB,
            disk_free_bytes=200 * GIB,
            facts={"os": "Debian GNU/Linux 12", "docker": "27.1"},
            accelerators=gpus,
        ),
    )
    inventory.record_engine_network(host.pk, "modelyard-engines", "172.31.5.0/24")
    host.refresh_from_db()
    return host


@pytest.fixture
def artifact(host: Any, team: Any) -> Any:
    """A small GGUF file with a verified copy on the host; the team shares it with everybody."""
    from django.utils import timezone

    from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState

    model = CatalogModel.objects.create(
        name="SmolLM2 135M Instruct",
        slug="smollm2-135m-instruct",
        architecture="llama",
        parameters=134_515_008,
        context_length=8192,
        licence="apache-2.0",
    )
    artifact = Artifact.objects.create(
        team=team,
        is_shared=True,
        catalog_model=model,
        format="gguf",
        quantisation="Q8_0",
        main_file="smollm2-135m-instruct-q8_0.gguf",
        files=[{"name": "smollm2-135m-instruct-q8_0.gguf", "size_bytes": 144_811_072, "sha256": "ab" * 32}],
        facts={},
        size_bytes=144_811_072,
        source={"kind": "test"},
    )
    ArtifactCopy.objects.create(artifact=artifact, host=host, state=CopyState.PRESENT, verified_at=timezone.now())
    return artifact


@pytest.fixture
def small_hub() -> Iterator[Any]:
    """A small model hub on this machine."""
    from tests.parts.hub import running_hub

    with running_hub() as running:
        yield running


@pytest.fixture
def hub(small_hub: Any, db: None) -> Any:
    """The small hub as an installation admin has added it."""
    from webapp.catalog.models import Hub

    Hub.objects.all().delete()
    return Hub.objects.create(name="Small", endpoint=small_hub.url, allows_private=True)


@pytest.fixture
def make_deployment(artifact: Any, team: Any) -> Callable[..., Any]:
    """Write a deployment with its replicas as they are right after somebody asked for it."""
    from webapp.deployments.models import Deployment, Replica

    def make(name: str = "smollm2", team: Any = team, replicas: int = 1, **columns: Any) -> Any:
        deployment = Deployment.objects.create(
            team=team, name=name, artifact=artifact, engine="llamacpp", desired_replicas=replicas, **columns
        )
        Replica.objects.bulk_create(Replica(deployment=deployment, number=number) for number in range(1, replicas + 1))
        return deployment

    return make


@pytest.fixture
def deployment(make_deployment: Callable[..., Any]) -> Any:
    """ada's deployment with one pending replica."""
    return make_deployment()


@pytest.fixture
def advance(db: None) -> Callable[..., Any]:
    """Walk a replica through legal moves by the one writer of its state: advance(replica, "placing", "starting")."""
    from webapp.deployments import lifecycle
    from webapp.deployments.states import ReplicaState

    def walk(replica: Any, *states: str, text: str = "", code: str = "", advice: str = "", **columns: Any) -> Any:
        for state in states:
            replica.refresh_from_db()
            why = lifecycle.Reason(code=code, text=text, advice=advice)
            assert lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), why, **columns)
        return replica

    return walk


@pytest.fixture
def count_queries(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """How many queries a page costs, the session's and the user's included."""
    # A setting that is read again every few seconds would be counted on one page and not on another.
    monkeypatch.setattr("webapp.accounts.sign_in.REMEMBERED_S", float("inf"))
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def count(client: Any, url: str) -> int:
        client.get(url)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        return len(captured)

    return count
