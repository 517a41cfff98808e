"""One list of steps lets requests in, and what they took is free again however they end."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.stack import ADA, READER, key
from webapp.gateway.admission.admission import Admission, Admitted, Refusal
from webapp.gateway.admission.body_room import BodyRoom
from webapp.gateway.admission.key_slots import KeySlots
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.request import Request, too_large_body
from webapp.gateway.http.seen_credential import SeenCredential
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.snapshot import from_parts
from webapp.gateway.routing.table import RoutingTable
from webapp.gateway.routing.targets import classify

PATH = b"/v1/chat/completions"


class Slots(KeySlots):
    """Says how many are taken."""

    def taken(self) -> int:
        return sum(self._table.cells)


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(LoadTable(tmp_path / "keys", 0, 1), 2)


@pytest.fixture
def admission(tmp_path: Path, slots: Slots) -> Admission:
    table = RoutingTable(LoadTable(tmp_path / "loads", 0, 1))
    deployment = {"id": 7, "team": 2, "name": "smol", "endpoints": ["completions"], "upstream_model": "smol"}
    keys = [key(1, ADA, user=3, team=2), key(3, READER, user=3, team=2, scopes=["read"])]
    teams = [{"id": 2, "slug": "research"}]
    document = json.dumps({"version": "1", "keys": keys, "teams": teams, "deployments": [deployment]}).encode()
    table.adopt(from_parts(document, document))
    return Admission(table, slots, BodyRoom(1 << 20, 2 << 20, too_large_body))


def asked(
    admission: Admission, *, path: bytes = PATH, method: bytes = b"POST", length: int = 100, **fields: str
) -> Admitted | Refusal:
    fields = {"authorization": f"Bearer {ADA}", **fields}
    read = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    request = Request(method, path, "1.1", fields=read, content_length=length)
    return admission.admit(request, classify(path), SeenCredential())


def code(outcome: Admitted | Refusal) -> str:
    return outcome.problem.code if isinstance(outcome, Refusal) else "admitted"


def test_the_first_step_that_does_not_let_pass_decides(admission: Admission) -> None:
    everything_wrong: dict[str, Any] = {
        "path": PATH + b"?api_key=x", "authorization": "Bearer nobody", "method": b"GET", "content_encoding": "zstd",
        "length": 2 << 20,
    }  # fmt: skip
    right: dict[str, Any] = {
        "path": PATH, "authorization": f"Bearer {ADA}", "method": b"POST", "content_encoding": "", "length": 100,
    }  # fmt: skip
    codes = []
    for name in everything_wrong:
        codes.append(code(asked(admission, **everything_wrong)))
        everything_wrong[name] = right[name]
    assert codes == [
        "key_in_query", "invalid_key", "method_not_allowed", "unsupported_content_encoding", "body_too_large",
    ]  # fmt: skip
    assert code(asked(admission, **everything_wrong)) == "admitted"


def test_who_was_refused_is_known_as_soon_as_the_key_was_read(admission: Admission) -> None:
    unknown, known = asked(admission, authorization="Bearer nobody"), asked(admission, method=b"GET")
    assert isinstance(unknown, Refusal) and unknown.principal is None
    assert isinstance(known, Refusal) and known.principal is not None and known.principal.key == 1


def test_what_a_refused_request_had_taken_is_free_again(admission: Admission, slots: Slots) -> None:
    assert code(asked(admission, length=2 << 20)) == "body_too_large"
    assert (slots.taken(), admission.bodies.held_bytes) == (0, 0)


def test_an_admitted_request_holds_its_place_and_its_body_until_it_leaves(admission: Admission, slots: Slots) -> None:
    first, second = (asked(admission, length=1 << 19) for _ in range(2))
    assert (slots.taken(), admission.bodies.held_bytes) == (2, 1 << 20)
    assert code(asked(admission)) == "too_many_requests"
    for admitted in (first, second):
        assert isinstance(admitted, Admitted)
        admission.keep(admitted, 1000)
    assert admission.bodies.held_bytes == 2000
    for admitted in (first, second):
        assert isinstance(admitted, Admitted)
        admission.leave(admitted)
    assert (slots.taken(), admission.bodies.held_bytes) == (0, 0)
    assert code(asked(admission)) == "admitted"


def test_a_new_limit_is_one_step_in_one_list(admission: Admission, slots: Slots) -> None:
    """The promise that this room was built for: nothing else has to be touched."""

    def closes_on_sundays(admitted: Admitted) -> None:
        raise Problem(429, "sunday", "Come back tomorrow")

    admission.steps += (closes_on_sundays,)
    assert code(asked(admission)) == "sunday"
    assert slots.taken() == 0


def test_what_is_asked_of_a_model_is_a_list_of_its_own(admission: Admission) -> None:
    admitted = asked(admission)
    assert isinstance(admitted, Admitted)
    deployment = admission.find(admitted, "smol")
    with pytest.raises(Problem, match="does not offer /v1/chat/completions"):
        admission.admit_to_model(admitted, deployment)
    admission.model_steps = ()
    admission.admit_to_model(admitted, deployment)
