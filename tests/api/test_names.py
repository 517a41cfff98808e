"""Names of operations come from method and path alone."""

import pytest

from webapp.interfaces.api.names import operation_names

METHODS = {
    "/deployments": {"GET", "POST"},
    "/deployments/{deployment_id}": {"GET", "PATCH", "DELETE"},
    "/deployments/{deployment_id}/start": {"POST"},
    "/deployments/{deployment_id}/events": {"GET"},
    "/deployments/{deployment_id}/grants": {"GET", "POST"},
    "/deployments/{deployment_id}/replicas/{number}/log": {"GET"},
    "/teams/{slug}/members": {"GET"},
    "/teams/{slug}/members/{user_id}": {"DELETE", "PATCH"},
    "/me": {"GET"},
    "/me/password": {"GET", "PUT"},
    "/imports": {"POST"},
    "/usage/by-day": {"GET"},
    "/usage.csv": {"GET"},
}
LISTS = {
    "/deployments",
    "/deployments/{deployment_id}/events",
    "/deployments/{deployment_id}/grants",
    "/teams/{slug}/members",
    "/usage/by-day",
}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/deployments", "deployments_list"),
        ("POST", "/deployments", "deployments_create"),
        ("GET", "/deployments/{deployment_id}", "deployments_get"),
        ("PATCH", "/deployments/{deployment_id}", "deployments_update"),
        ("DELETE", "/deployments/{deployment_id}", "deployments_delete"),
        ("POST", "/deployments/{deployment_id}/start", "deployments_start"),
        ("GET", "/deployments/{deployment_id}/events", "deployments_events"),
        ("GET", "/deployments/{deployment_id}/grants", "deployments_grants_list"),
        ("POST", "/deployments/{deployment_id}/grants", "deployments_grants_create"),
        ("GET", "/deployments/{deployment_id}/replicas/{number}/log", "deployments_replicas_log"),
        ("GET", "/teams/{slug}/members", "teams_members_list"),
        ("PATCH", "/teams/{slug}/members/{user_id}", "teams_members_update"),
        ("GET", "/me", "me_get"),
        ("PUT", "/me/password", "me_password_replace"),
        ("POST", "/imports", "imports_create"),
        ("GET", "/usage/by-day", "usage_by_day"),
        ("GET", "/usage.csv", "usage_csv_get"),
    ],
)
def test_an_operation_is_named_for_what_it_does(method, path, name):
    assert operation_names(METHODS, LISTS)[method, path] == name


def test_no_two_operations_share_a_name():
    names = list(operation_names(METHODS, LISTS).values())
    assert len(names) == len(set(names))
