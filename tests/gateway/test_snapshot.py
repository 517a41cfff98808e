"""What the gateway knows, how fast it learns, and that it needs nobody to be up."""

import base64
import hmac
import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.stack import ADA, MASTER, TOKEN_SECRET, Stack, chat_body, derive, eventually, key
from webapp.gateway import settings


def test_a_revoked_key_is_refused_after_the_next_question_to_web(make_stack: Callable[..., Stack]) -> None:
    """Questions come once a second: counted, not timed, so that a busy machine does not fail the test."""
    assert settings.from_environment(0, {}).poll_s == 1
    stack = make_stack(MODELYARD_POLL_S="").start()
    assert stack.chat().status == 200
    asked, with_old = len(stack.web.server.asked), f"/internal/gateway/snapshot?{stack.web.up_to_date}"
    stack.publish(keys=[])
    assert stack.chat().status == 401
    # The one that brought the news, and perhaps one that was on its way.
    assert 1 <= [a.target for a in stack.web.server.asked[asked:]].count(with_old) <= 2


def test_a_new_key_a_new_deployment_and_a_moved_replica_are_learned(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    fresh = "my_freshkey_" + "f" * 43
    stack.publish(
        keys=[key(9, fresh, user=8, team=2)],
        deployments=[stack.deployment(40, "brand-new", replicas=[stack.replica(41, 1)])],
    )
    assert stack.chat("brand-new", key=fresh).headers["x-modelyard-served-by"] == "brand-new/41"
    assert stack.chat("smol", key=fresh).status == 404
    stack.publish(deployments=[stack.deployment(40, "brand-new", replicas=[stack.replica(42, 0)])])
    assert stack.chat("brand-new", key=fresh).headers["x-modelyard-served-by"] == "brand-new/42"


def test_a_moved_replica_resends_no_key_and_a_new_key_no_route(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    assert stack.web.sent == [["principals", "routes"]]
    stack.publish(deployments=[stack.deployment(7, "smol", replicas=[stack.replica(12, 1)])])
    assert stack.chat().headers["x-modelyard-served-by"] == "smol/12"
    stack.publish(keys=[key(1, ADA, user=3, team=2), key(9, "my_new_" + "n" * 43, user=3, team=2)])
    assert stack.chat(key="my_new_" + "n" * 43).headers["x-modelyard-served-by"] == "smol/12"
    assert stack.web.sent == [["principals", "routes"], ["routes"], ["principals"]]
    eventually(lambda: (stack.folder / "gateway" / "routes.sealed").exists())
    stack.web.stop()
    assert stack.end() == 0
    stack.launch()
    assert stack.chat(key="my_new_" + "n" * 43).headers["x-modelyard-served-by"] == "smol/12"


def test_a_gateway_that_starts_alone_after_an_upgrade_serves_what_the_release_before_had_stored(
    make_stack: Callable[..., Stack],
) -> None:
    """It kept keys and routes in one document."""
    stack = make_stack()
    stored = stack.folder / "gateway" / "snapshot.sealed"
    # In a process of its own, which has the stack's folders.
    code = "import sys, pathlib; from webapp.gateway.routing import vault\n"
    code += "vault.save(pathlib.Path(sys.argv[1]), sys.stdin.buffer.read())"
    document = json.dumps(stack.web.snapshot).encode()
    subprocess.run([sys.executable, "-c", code, stored], input=document, env=stack.environment, check=True)
    stack.launch()
    assert stack.chat().status == 200
    stack.web.start()
    eventually(lambda: not stored.exists())
    stack.web.stop()
    assert stack.end() == 0
    stored.write_bytes(b"a leftover that nobody can read is in nobody's way")
    stack.launch()
    assert stack.chat().status == 200


def test_a_key_expires_on_time_whatever_web_says(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    stack.publish(keys=[key(1, ADA, user=3, team=2, expires_at=time.time() + 3600)])
    assert stack.chat().status == 200
    stack.publish(keys=[key(1, ADA, user=3, team=2, expires_at=time.time() + 1)])
    stack.web.stop()
    eventually(lambda: stack.chat().status == 401)


def test_a_stored_snapshot_is_replaced_at_the_start_even_when_its_number_is_current(
    make_stack: Callable[..., Stack],
) -> None:
    """After an upgrade web may tell more under the same number."""
    stack = make_stack().start()
    eventually(lambda: (stack.folder / "gateway" / "routes.sealed").exists())
    assert stack.end() == 0
    stack.web.snapshot = {
        **stack.web.snapshot,
        "deployments": [stack.deployment(40, "told-anew", replicas=[stack.replica(41, 1)])],
    }
    stack.launch()
    eventually(lambda: stack.chat("told-anew").status == 200)
    assert stack.chat("smol").status == 404


def test_a_replica_that_became_ready_since_the_last_poll_is_found(make_stack: Callable[..., Stack]) -> None:
    """A page shows "ready" and a person asks at once: that must not be a 503."""
    stack = make_stack(MODELYARD_POLL_S="3").start()
    assert stack.chat("waking").status == 503
    time.sleep(0.15)
    stack.web.publish(deployments=[stack.deployment(9, "waking", replicas=[stack.replica(13, 0)])])
    answer = stack.chat("waking")
    assert (answer.status, answer.headers["x-modelyard-served-by"]) == (200, "waking/13")
    by_path = stack.ask("POST", "/d/research/waking/v1/chat/completions", chat_body("waking"))
    assert by_path.status == 200


def test_many_requests_for_a_model_that_is_not_up_ask_web_a_few_times(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_POLL_S="3").start()
    before, started = stack.web.polls, time.monotonic()
    for _ in range(50):
        assert stack.chat("waking").status == 503
    took_s = time.monotonic() - started
    # Ten a second at most, and its own question every three seconds.
    assert stack.web.polls - before <= 10 * took_s + took_s / 3 + 3


def test_a_draining_replica_finishes_its_stream_and_gets_nothing_new(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    line = stack.connect()
    body = json.dumps(chat_body("pair", {"tokens": 40, "delay": 0.05}, stream=True))
    line.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
    response = line.getresponse()
    assert response.headers["x-modelyard-served-by"] == "pair/14"
    pair = stack.deployment(10, "pair", replicas=[stack.replica(14, 0, "draining"), stack.replica(15, 1)])
    stack.publish(deployments=[pair])
    for _ in range(4):
        assert stack.chat("pair").headers["x-modelyard-served-by"] == "pair/15"
    assert response.read().rstrip().endswith(b"data: [DONE]")
    line.close()


def test_a_gateway_that_starts_alone_serves_what_it_knew(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    eventually(lambda: (stack.folder / "gateway" / "routes.sealed").exists())
    stack.web.stop()
    assert stack.end() == 0
    stack.launch()
    assert stack.chat(stream=True).events()[-1] == "[DONE]"
    assert stack.chat(key="my_wrong").status == 401


def test_a_gateway_that_knows_nothing_yet_says_so(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start(with_web=False)
    answer = stack.chat()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "gateway_starting", "1")
    assert stack.ask("GET", "/v1/models").status == 503
    stack.web.start()
    eventually(lambda: stack.chat().status == 200)


def test_the_stored_snapshot_is_sealed_and_private(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    path = stack.folder / "gateway" / "routes.sealed"
    eventually(path.exists)
    for stored in (path, path.with_name("principals.sealed")):
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600
        for word in (b"smol", b"research", key(1, ADA, user=3, team=2)["digest"].encode(), b"digest"):
            assert word not in stored.read_bytes()
    stack.web.stop()
    stack.end()
    sealed = path.read_bytes()
    path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    stack.launch()
    assert stack.chat().status == 503
    assert "damaged" in stack.log()


def test_a_snapshot_that_cannot_be_read_changes_nothing(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    stack.web.publish(deployments="nonsense")
    eventually(lambda: "no news from web" in stack.log())
    assert stack.chat().status == 200


def test_one_bad_entry_does_not_take_the_others_down(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    bad = stack.deployment(50, "bad", replicas=[{"id": 51, "url": "ftp://x", "state": "ready"}])
    good = stack.deployment(7, "smol", replicas=[stack.replica(11, 0)])
    stack.publish(
        deployments=[bad, good], keys=[{**key(1, ADA, user=3, team=2)}, key(2, "x", user=1, team=2) | {"digest": "zz"}]
    )
    assert stack.chat().status == 200
    assert stack.chat("bad").status == 503


def token(allowed: list[int], exp: float, secret: bytes = TOKEN_SECRET, **claims: Any) -> str:
    payload = base64.urlsafe_b64encode(
        json.dumps({"user": 3, "team": 2, "deployments": allowed, "exp": exp} | claims).encode()
    ).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.digest(secret, payload, "sha256")).rstrip(b"=")
    return f"myp_{payload.decode()}.{signature.decode()}"


def test_a_playground_token_opens_only_its_deployments(stack: Stack) -> None:
    good = token([7], time.time() + 60)
    answer = stack.ask("POST", "/v1/chat/completions", chat_body("smol"), good, Origin="http://anywhere.example")
    assert answer.status == 200
    record = stack.record(answer.request_id)
    assert (record["key"], record["user"], record["team"]) == (None, 3, 2)
    assert stack.chat("pair", key=good).status == 404
    assert [m["id"] for m in stack.ask("GET", "/v1/models", key=good).json()["data"]] == ["smol"]


@pytest.mark.parametrize(
    "bad",
    [
        token([7], 1_000),
        token([7], 9e9, b"another secret"),
        token([7], 9e9, b""),
        token([7], 9e9).replace("myp_", "myp_A"),
        token([7], 9e9)[:-1],
        token([7], 9e9) + "=",
        "myp_.",
        "myp_",
        token([7], 9e9, deployments="all"),
    ],
)
def test_a_playground_token_that_is_not_ours_or_too_old_is_refused(stack: Stack, bad: str) -> None:
    answer = stack.chat(key=bad)
    assert (answer.status, answer.error["code"]) == (401, "invalid_token")


def test_a_master_key_that_is_rotated_is_followed_without_a_restart(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    new = bytes(range(50, 82))
    stack.web.secrets = (derive("internal", new).hex(), derive("internal").hex())
    before, after = token([7], 9e9), token([7], 9e9, derive("playground", new))
    assert (stack.chat(key=before).status, stack.chat(key=after).status) == (200, 401)
    stack.keep_keys(new, MASTER)
    assert (stack.chat(key=before).status, stack.chat(key=after).status) == (200, 200)
    stack.publish()
    stack.keep_keys(new)
    stack.web.secrets = (derive("internal", new).hex(),)
    assert (stack.chat(key=before).status, stack.chat(key=after).status) == (401, 200)
    stack.publish()
    stack.web.stop()
    stack.end()
    stack.launch()
    assert stack.chat(key=after).status == 200, "it serves from what it stored, under the new key"
