"""Nobody reaches into another team: every route, every role, by address, body and socket."""

import json
import re
import time

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client

from tests.api.routes import API, UNSAFE, operations, pages
from tests.api.samples import FORM_REACHES, INTERNAL, MARK, OPEN_ROUTES, REACHES, TOPICS, UNWRITTEN, side
from webapp.accounts import keys
from webapp.interfaces.kit.topics import _MAY_FOLLOW
from webapp.interfaces.live import topics

pytestmark = pytest.mark.django_db

ROLES = ("viewer", "operator", "admin")
# Rows that a request may touch although it was refused: its own session, the time its key was used, its own messages.
# What takes a row for the length of a transaction changes nothing in it.
_OWN = re.compile(
    r'SET "next_due_at" = NULL WHERE|'
    r'(INTO|UPDATE|FROM) "?(django_session|accounts_cache|events_topic)"?|UPDATE "accounts_apikey" SET "last_used_at"'
    r'|SET "last_generation" = \(?"deployments_deployment"."last_generation"\)? WHERE'
)
# Routes that look outward, at a hub or at other processes: neither is there in a test.
OUTWARD = frozenset({"readyz", "api/v1/hubs/{hub_id}/search"})
# Routes that refuse before they look anything up.
BLIND = frozenset({"models/hubs/<int:pk>/", "api/v1/hubs/{hub_id}/repo"})
_WRITE = re.compile(r"^\s*(INSERT|UPDATE|DELETE)", re.IGNORECASE)


@pytest.fixture
def own(host):
    return side("own", host)


@pytest.fixture
def other(own, host):
    return side(MARK, host)


@pytest.fixture
def browser(own):
    """A signed-in browser of this role in the team `own`."""

    def start(role, **options):
        client = Client(raise_request_exception=False, **options)
        client.force_login(own.people[role])
        session = client.session
        # As if the password had been typed a moment ago: some pages ask for it again before they look at anything.
        session["account_authentication_methods"] = [{"method": "password", "at": time.time(), "reauthenticated": True}]
        session["account_authentication_methods_user"] = str(own.people[role].pk)
        session.save()
        return client

    return start


@pytest.fixture
def program(own):
    """A program with a key of this role that may do everything the role may."""

    def start(role):
        _key, text = keys.create_key(own.people[role], own.team, "program")
        return Client(raise_request_exception=False, headers={"X-API-Key": text})

    return start


def ask(client, method, path, body=None):
    """The status and the text of the answer, and the statements that changed a row."""
    more = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    writes = []

    def note(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        # SQLite counts what an INSERT ... RETURNING wrote only when it has been read.
        has_changed = context["cursor"].rowcount or sql.startswith("INSERT")
        if has_changed and _WRITE.match(sql) and not _OWN.search(sql):
            writes.append(sql)
        return result

    with connection.execute_wrapper(note):
        reply = client.generic(method, path, **more) if more else getattr(client, method.lower())(path)
    text = b"".join(reply.streaming_content) if reply.streaming else reply.content
    return reply.status_code, text.decode(errors="replace"), writes


def everything():
    """Each route with each of its methods; internal endpoints have a test of their own."""
    for route in [*pages(), *operations()]:
        if not route.template.startswith(INTERNAL):
            for method in route.methods:
                yield route, method


def test_the_walk_sees_the_whole_site():
    templates = {route.template for route in [*pages(), *operations()]}
    assert len(templates) > 80
    for one in ("", "healthz", "deployments/<int:pk>/stop/", "api/v1/keys/{key_id}", "api/v1/docs", "accounts/2fa/"):
        assert one in templates


def test_at_most_eight_routes_open_without_signing_in():
    assert len(OPEN_ROUTES) <= 8
    templates = {route.template for route in pages()}
    assert set(OPEN_ROUTES) <= templates, "the table speaks of routes that are gone"


def test_whoever_has_not_signed_in_gets_nowhere(own, client):
    wrong = []
    client.raise_request_exception = False
    for route, method in everything():
        if route.template in OPEN_ROUTES:
            continue
        status, text, writes = ask(client, method, route.path(own), route.body)
        fine = (
            status == 401
            if route.is_api and route.parameters == () and status != 302
            else status in (302, 401, 404, 405)
        )
        if (
            not fine
            or writes
            or ("own" in re.sub(r"own(er|ed|load)?\b|[a-z]own|down", "", text) and "own team" in text)
        ):
            wrong.append((method, route.template, status, writes))
    assert not wrong


def test_an_anonymous_redirect_leads_to_the_sign_in_page_only(own, client):
    client.raise_request_exception = False
    for route in pages():
        if route.template in OPEN_ROUTES or route.template.startswith(INTERNAL):
            continue
        reply = client.get(route.path(own))
        if reply.status_code == 302:
            assert reply.url.startswith("/accounts/login/"), route.template


@pytest.mark.parametrize("role", ROLES)
def test_another_teams_things_answer_like_things_that_do_not_exist(own, other, browser, program, role):
    page, api = browser(role), program(role)
    wrong = []
    for route, method in everything():
        client = api if route.is_api else page
        for parameter in route.scoped():
            sample = route.sample(parameter)
            status, text, writes = ask(client, method, route.path(own, {parameter: sample.value(other)}), route.body)
            absent, _text, _writes = ask(client, method, route.path(own, {parameter: sample.absent}), route.body)
            is_hidden = status == absent and status in (404, 405, 422, 403)
            if method in ("GET", "DELETE"):
                is_hidden = status == absent and (status in (404, 405) or route.template in BLIND)
            if not is_hidden or writes or MARK in text.replace(str(sample.value(other)), ""):
                wrong.append((method, route.template, parameter, status, absent, writes[:1]))
    assert not wrong


@pytest.mark.parametrize("role", ROLES)
def test_no_page_or_list_names_anything_of_another_team(own, other, browser, program, role):
    page, api = browser(role), program(role)
    wrong = []
    for route, method in everything():
        if method != "GET":
            continue
        status, text, _writes = ask(api if route.is_api else page, method, route.path(own))
        if MARK in text or (status >= 500 and route.template not in OUTWARD):
            wrong.append((route.template, status))
    assert not wrong


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_reached_through_a_body_either(own, other, browser, program, role):
    for path, body in REACHES:
        status, text, writes = ask(program(role), "POST", path, body(other))
        assert status in (403, 404, 422), path
        assert not writes, path
        assert f"{MARK} team" not in text, path
    client = browser(role)
    for path, form in FORM_REACHES:
        reply = client.post(path, form(other))
        assert reply.status_code in (403, 404, 422), path
        assert f"{MARK} team" not in reply.content.decode(), path


def test_a_viewer_changes_nothing_but_what_is_their_own(own, browser, program):
    page, api = browser("viewer"), program("viewer")
    wrong = []
    for route, method in everything():
        is_personal = route.template.startswith(("accounts/", "keys/", "api/v1/keys", "playground/"))
        if method not in UNSAFE or is_personal:
            continue
        status, _text, writes = ask(api if route.is_api else page, method, route.path(own), route.body)
        if writes or status >= 500:
            wrong.append((method, route.template, status, writes[:1]))
    assert not wrong


@pytest.mark.parametrize("who", ["admin", "the installation's admin"])
def test_whatever_changes_something_is_written_down(own, root, who):
    """Each request alone, and undone behind it, so that the next one finds everything in its place."""
    person = own.people["admin"] if who == "admin" else root
    _key, text = keys.create_key(person, own.team, "program")
    api = Client(raise_request_exception=False, headers={"X-API-Key": text})
    page = Client(raise_request_exception=False)
    page.force_login(person)
    silent, changed = [], 0
    for route, method in everything():
        if method not in UNSAFE or route.template.startswith("accounts/") or route.template in UNWRITTEN:
            continue
        undo = transaction.savepoint()
        status, _text, writes = ask(api if route.is_api else page, method, route.path(own), route.body)
        transaction.savepoint_rollback(undo)
        changed += bool(writes)
        entries = sum("accounts_auditentry" in sql for sql in writes)
        if status >= 500 or (writes and not entries):
            silent.append((method, route.template, status, writes[:1]))
    assert not silent
    assert changed > 15


@pytest.mark.parametrize("scope", ["inference", "read"])
def test_a_keys_scope_holds_on_every_operation(own, root, scope):
    """Even of somebody who may do everything."""
    _key, text = keys.create_key(root, own.team, "program", scopes=(scope,))
    api = Client(raise_request_exception=False, headers={"X-API-Key": text})
    wrong, asked = [], 0
    for route in operations():
        [method] = route.methods
        if scope == "read" and method not in UNSAFE:
            continue
        asked += 1
        status, told, writes = ask(api, method, route.path(own), route.body)
        if status != 403 or "lacks the scope" not in told or writes:
            wrong.append((method, route.template, status, writes[:1]))
    assert not wrong
    assert asked > 50


def test_an_operator_governs_nothing(own, browser, program):
    """Members, people, sign-in and hosts are for admins."""
    page, api = browser("operator"), program("operator")
    wrong = []
    for route, method in everything():
        first = route.template.removeprefix(API).partition("/")[0]
        if method in UNSAFE and first in ("team", "teams", "people", "settings", "audit", "hosts"):
            status, _text, writes = ask(api if route.is_api else page, method, route.path(own), route.body)
            if writes or status >= 500:
                wrong.append((method, route.template, status, writes[:1]))
    assert not wrong


def test_every_unsafe_page_wants_the_csrf_token(own, browser):
    client = browser("admin", enforce_csrf_checks=True)
    wrong = []
    for route in pages():
        if route.template.startswith(INTERNAL):
            continue
        status, _text, writes = ask(client, "POST", route.path(own))
        if status not in (403, 405) or writes:
            wrong.append((route.template, status))
    assert not wrong


def test_every_unsafe_operation_wants_it_of_a_browser(own, browser):
    client = browser("admin", enforce_csrf_checks=True)
    for route in operations():
        if route.methods[0] in UNSAFE:
            status, text, writes = ask(client, route.methods[0], route.path(own), route.body)
            assert (status, writes) == (403, []), route.template
            assert "CSRF" in text


@pytest.mark.parametrize("who", ["nobody", *ROLES])
def test_internal_doors_do_not_exist_for_people(own, browser, client, who):
    client = client if who == "nobody" else browser(who)
    for route in pages():
        if route.template.startswith(INTERNAL):
            for method in ("GET", "POST"):
                status, _text, writes = ask(client, method, route.path(own))
                assert status in (404, 405), route.template
                assert not writes


@pytest.mark.parametrize("role", ROLES)
def test_sockets_follow_ones_own_topics_and_no_others(own, other, browser, role):
    session = browser(role).cookies[settings.SESSION_COOKIE_NAME].value
    for kind in _MAY_FOLLOW:
        assert kind in TOPICS, f"what does the topic {kind!r} stand for? Say it in tests/api/samples.py (TOPICS)"
        sample = TOPICS[kind]
        assert topics.check(session, [f"{kind}:{sample.value(own)}"])
        if sample.is_scoped:
            for key in (sample.value(other), sample.absent):
                with pytest.raises(topics.Gone):
                    topics.check(session, [f"{kind}:{key}"])
    with pytest.raises(topics.SignedOut):
        topics.check("", ["hosts:"])


def test_the_description_of_the_api_is_behind_the_sign_in(client):
    for page in ("docs", "openapi.json"):
        assert client.get(f"/{API}{page}").status_code == 302
