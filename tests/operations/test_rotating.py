"""The master key is replaced while rows are read and written: everything stays readable, wherever it is cut off."""

import ast
import base64
import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core import signing
from django.db import connection

from tests.gateway.stack import eventually
from tests.operations.rotation import ended, later
from webapp.accounts import second_factor
from webapp.accounts.models import CLIENT_SECRET, AuditEntry, SignInSettings, Team, User
from webapp.catalog.models import ARTIFACT_URL, HUB_TOKEN, Artifact, CatalogModel, Hub
from webapp.foundation import crypto, encrypted, key_ring, secret_store
from webapp.foundation.crypto import DecryptionError
from webapp.foundation.encrypted import EncryptedField
from webapp.foundation.errors import NotAllowed
from webapp.idempotency.models import ANSWER, Exchange
from webapp.operations import backups, rotating, sessions_secret
from webapp.schedules.models import TARGET_SECRET, Target, TargetKind

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]
ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary-in-the-clear"
Rows = list[tuple[EncryptedField, Any]]


def filled(number: int) -> Rows:
    """Two rows or more of every encrypted field, each holding its own canary; (field, row)."""
    rows: Rows = []
    team = Team.objects.create(name="Sealed", slug="sealed")
    model = CatalogModel.objects.create(name="m", slug="sealed-m")

    def put(field: EncryptedField, row: Any) -> None:
        text = field.encrypt(row, canary(field, row))
        value = {**getattr(row, field.column), field.member: text} if field.member else text
        setattr(row, field.column, value)
        row.save()
        rows.append((field, row))

    put(CLIENT_SECRET, SignInSettings.objects.create())
    for n in range(number):
        put(HUB_TOKEN, Hub.objects.create(name=f"sealed hub {n}"))
        source = {"kind": "url", "url": f"https://x.example/{n}"}
        file = f"{n}.gguf"
        put(ARTIFACT_URL, Artifact.objects.create(catalog_model=model, team=team, source=source, main_file=file))
        address = f"https://hooks.example/{n}"
        put(TARGET_SECRET, Target.objects.create(team=team, kind=TargetKind.WEBHOOK, address=address))
        put(ANSWER, Exchange.objects.create(caller=f"user:{n}", key="k", fingerprint="f", status=200))
        person = User.objects.create_user(f"sealed-{n}")
        for field, kind in zip(second_factor.SEEDS, ("totp", "recovery_codes"), strict=True):
            put(field, Authenticator.objects.create(user=person, type=kind, data={"used_mask": 0}))
    return rows


def canary(field: EncryptedField, row: Any) -> str:
    return f"{CANARY} of {field} {row.pk}"


def hold(rows: Rows) -> None:
    """Every row is there and says what it said."""
    for field, row in rows:
        row.refresh_from_db()
        assert field.decrypt(row) == canary(field, row)


def as_before(text: str, place: str) -> str:
    """As versions wrote it whose texts named no key."""
    plain = crypto.encrypt_bytes(text.encode(), secret_store.derive(crypto.PURPOSE), place.encode())
    return f"s1:{base64.urlsafe_b64encode(plain).decode()}"


def test_every_row_is_under_the_new_key_and_the_old_one_is_gone(ring: key_ring.Ring) -> None:
    rows = filled(3)
    assert {field for field, _row in rows} == set(encrypted.fields()), "give each encrypted field a row in `filled`"
    begun = rotating.rotate(None)
    assert (begun.rows_behind, len(begun.keys)) == (len(rows), 2)
    hold(rows)
    assert not rotating.advance()
    assert rotating.status().rows_behind == 0
    assert rotating.status().is_rotating, "what was encrypted a moment ago may be committed later"
    assert rotating.advance(now=later())
    [key] = key_ring.current()
    assert key.id != ring[0].id
    hold(rows)
    assert all(crypto.mark(key) in str(getattr(row, field.column)) for field, row in rows)


def test_no_text_is_encrypted_but_by_a_field_that_was_declared() -> None:
    allowed = {"webapp/foundation/encrypted.py", "webapp/foundation/crypto.py"}
    found = set()
    for path in [*ROOT.glob("webapp/**/*.py"), *ROOT.glob("workers/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ImportFrom(module="webapp.foundation.crypto", names=names):
                    is_used = bool({"encrypt", "decrypt"} & {name.name for name in names})
                case ast.Attribute(value=ast.Name(id="crypto"), attr=attr):
                    is_used = attr in ("encrypt", "decrypt")
                case _:
                    is_used = False
            if is_used:
                found.add(str(path.relative_to(ROOT)))
    assert found <= allowed


@pytest.mark.django_db(transaction=True)
def test_nothing_is_in_the_clear_in_the_database(places: Path) -> None:
    filled(2)
    raw = gzip.decompress(Path(backups.take().path).read_bytes())
    assert CANARY.encode() not in raw
    assert b"s2:" in raw


def test_a_text_that_was_moved_to_another_row_or_field_is_refused() -> None:
    rows = filled(2)
    for field, row in rows:
        for other, origin in rows:
            # The two seeds of one person are bound to the person: allauth does not say which of them it asks for.
            if row != origin and getattr(row, "user_id", row) != getattr(origin, "user_id", origin):
                with pytest.raises(DecryptionError):
                    field.opened(row, other._stored(origin))


def test_a_second_factor_that_was_moved_to_another_person_is_refused() -> None:
    one, other = (row for field, row in filled(2) if field is second_factor.SEEDS[0])
    assert second_factor.decrypt(one.data["secret"]) == canary(second_factor.SEEDS[0], one)
    mine, one.data["secret"] = one.data["secret"], other.data["secret"]
    one.save()
    with pytest.raises(DecryptionError):
        second_factor.decrypt(one.data["secret"])
    other.delete()
    with pytest.raises(DecryptionError):
        second_factor.decrypt(one.data["secret"])
    one.data["secret"] = mine
    one.save()
    assert second_factor.decrypt(mine)


def test_texts_from_before_are_read_and_bound_to_their_row_by_the_first_rotation() -> None:
    hub = Hub.objects.create(name="old")
    hub.sealed_token = as_before("hf_old", f"hub:{hub.pk}:token")
    hub.save()
    person = User.objects.create_user("old")
    data = {"secret": as_before("seed", "second-factor")}
    factor = Authenticator.objects.create(user=person, type="totp", data=data)
    assert (HUB_TOKEN.decrypt(hub), second_factor.decrypt(factor.data["secret"])) == ("hf_old", "seed")
    ended()
    hub.refresh_from_db()
    factor.refresh_from_db()
    assert (HUB_TOKEN.decrypt(hub), second_factor.decrypt(factor.data["secret"])) == ("hf_old", "seed")
    with pytest.raises(DecryptionError):
        crypto.decrypt(factor.data["secret"], "second-factor")


def test_a_row_that_no_key_opens_holds_up_nothing_and_stays() -> None:
    rows = filled(1)
    lost = Hub.objects.create(name="lost", sealed_token="s2:" + "0" * 24 + ":AAAA")
    ended()
    assert len(key_ring.current()) == 1
    hold(rows)
    lost.refresh_from_db()
    assert lost.sealed_token.startswith("s2:000")
    assert rotating.status().rows_behind == 1


class Killed(BaseException):
    """The process ends here."""


class Deadline:
    """Ends the process before its `nth` write: a statement that changes something, or a file put into its place."""

    armed: "Deadline | None" = None

    def __init__(self, nth: int) -> None:
        self.left = nth

    def write(self) -> None:
        if self.left == 0:
            Deadline.armed = None
            raise Killed
        self.left -= 1

    def statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if Deadline.armed is self and not sql.startswith("SELECT"):
            self.write()
        return execute(sql, params, many, context)


def _renamed(event: str, _args: tuple[Any, ...]) -> None:
    if event == "os.rename" and Deadline.armed is not None:
        Deadline.armed.write()


sys.addaudithook(_renamed)


def test_wherever_it_is_cut_off_all_is_readable_and_the_next_try_ends_it(tmp_path: Path) -> None:
    rows = filled(2)
    deaths, first = 0, key_ring.current()
    while True:
        deadline = Deadline.armed = Deadline(deaths)
        try:
            with connection.execute_wrapper(deadline.statement):
                ended()
            break
        except Killed:
            deaths += 1
            hold(rows)
            ended()
            hold(rows)
            assert len(key_ring.current()) == 1
        finally:
            Deadline.armed = None
    assert deaths > 15
    assert key_ring.current() != first
    assert list(key_ring.path().parent.glob(".master-*")) == []


def rotated_beside_writers(number: int, rounds: int) -> None:
    """Rotate `rounds` times while others change, add and read rows without a pause."""
    rows = filled(number)
    stop, faults = threading.Event(), []

    def live(work: Callable[[int], None]) -> None:
        try:
            turn = 0
            while not stop.is_set():
                work(turn)
                turn += 1
        except Exception as fault:
            faults.append(fault)
        finally:
            connection.close()

    hubs = [row.pk for field, row in rows if field is HUB_TOKEN]
    artifacts = [row.pk for field, row in rows if field is ARTIFACT_URL]

    def change(turn: int) -> None:
        hub = Hub.objects.get(pk=hubs[turn % len(hubs)])
        hub.sealed_token = HUB_TOKEN.encrypt(hub, canary(HUB_TOKEN, hub))
        hub.save(update_fields=["sealed_token"])

    def add(turn: int) -> None:
        exchange = Exchange.objects.create(caller="user:0", key=f"live {turn}", fingerprint="f")
        text = ANSWER.encrypt(exchange, canary(ANSWER, exchange))
        Exchange.objects.filter(pk=exchange.pk).update(status=200, sealed_answer=text)

    def read(turn: int) -> None:
        artifact = Artifact.objects.get(pk=artifacts[turn % len(artifacts)])
        assert ARTIFACT_URL.decrypt(artifact) == canary(ARTIFACT_URL, artifact)

    threads = [threading.Thread(target=live, args=(work,)) for work in (change, add, read)]
    for thread in threads:
        thread.start()
    try:
        for _round in range(rounds):
            before = key_ring.current()[0]
            rotating.rotate(None)
            eventually(lambda: rotating.advance() or not rotating.status().rows_behind)
            # The writers have all begun their next turn before the old key goes.
            done = Exchange.objects.count()
            eventually(lambda done=done: Exchange.objects.count() > done + 3 or faults)  # type: ignore[misc]
            eventually(lambda: rotating.advance(now=later()))
            assert before.id not in {key.id for key in key_ring.current()}
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []
    hold(rows)
    hold([(ANSWER, exchange) for exchange in Exchange.objects.filter(status=200)])


@pytest.mark.django_db(transaction=True)
def test_rows_are_read_and_written_while_the_key_is_rotated() -> None:
    rotated_beside_writers(number=40, rounds=2)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_thousands_of_rows_are_read_and_written_while_the_key_is_rotated_again_and_again() -> None:
    rotated_beside_writers(number=1000, rounds=5)


def test_a_process_that_runs_writes_with_the_new_key_at_once() -> None:
    code = (
        "import sys\nfrom webapp.foundation import crypto\n"
        "for _ in sys.stdin: print(crypto.encrypt('x', 'y'), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout

        def written() -> str:
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        old = written()
        rotating.rotate(None)
        new = written()
        assert crypto.decrypt(new, "y") == crypto.decrypt(old, "y") == "x"
        assert new.startswith(crypto.mark(key_ring.current()[0])) and not old.startswith(new[:27])
        process.stdin.close()


def test_people_stay_signed_in_until_the_old_key_is_dropped() -> None:
    signed = signing.dumps("a session")
    rotating.rotate(None)
    sessions_secret.renew()
    assert signing.loads(signed) == "a session"
    eventually(lambda: rotating.advance(now=later()))
    sessions_secret.renew()
    with pytest.raises(signing.BadSignature):
        signing.loads(signed)
    assert secret_store.derive("django").hex() == settings.SECRET_KEY


def test_it_is_the_admins_and_leaves_two_entries_in_the_audit_log(ada: Any, root: Any, ring: key_ring.Ring) -> None:
    with pytest.raises(NotAllowed):
        rotating.rotate(ada)
    assert key_ring.current() == ring
    rotating.rotate(root)
    again = rotating.rotate(root)
    assert len(again.keys) == 2, "one rotation at a time"
    rotating.advance(now=later())
    kept = list(AuditEntry.objects.filter(verb__startswith="master-key").order_by("pk"))
    assert [(entry.verb, entry.username) for entry in kept] == [
        ("master-key.rotate", "root"),
        ("master-key.drop", "Modelyard"),
    ]
    assert kept[0].detail == {"before": ring[0].id, "after": key_ring.current()[0].id}


def test_what_was_read_before_its_row_was_encrypted_anew_may_still_be_written_back() -> None:
    """The worker stood still for so long that the old key could go as soon as nothing needs it."""
    hub = Hub.objects.create(name="slow")
    hub.sealed_token = HUB_TOKEN.encrypt(hub, CANARY)
    hub.save()
    rotating.rotate(None)
    stale = Hub.objects.get(pk=hub.pk)
    assert not rotating.advance(now=later())
    stale.save()
    ended()
    hub.refresh_from_db()
    assert HUB_TOKEN.decrypt(hub) == CANARY
    assert len(key_ring.current()) == 1


def test_an_old_key_that_cannot_be_dropped_leaves_no_entry_that_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    rotating.rotate(None)

    def full(_keys: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(key_ring, "store", full)
        for _sweep in range(2):
            with pytest.raises(OSError, match="No space"):
                rotating.advance(now=later())
    assert not AuditEntry.objects.filter(verb="master-key.drop").exists()
    assert rotating.advance(now=later())
    assert AuditEntry.objects.filter(verb="master-key.drop").count() == 1


def test_a_rotation_that_began_meanwhile_is_not_ended_by_the_one_before() -> None:
    rotating.rotate(None)
    before = key_ring.current()
    key_ring.store(before[:1])
    rotating.rotate(None)
    assert not rotating._drop(before)
    assert len(key_ring.current()) == 2
