"""Every `state` column has one writer, and the database knows its words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

from webapp.foundation import paths

WRITER = Path("webapp/control/moves.py")


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for room in ("webapp", "workers"):
        for path in sorted((paths.REPOSITORY / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(paths.REPOSITORY), ast.parse(path.read_text())


def writes_of_state(tree: ast.AST) -> Iterator[int]:
    """Lines that put a word into a state column: `.update(state=...)`, or a save that names it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        names = {keyword.arg for keyword in node.keywords}
        if node.func.attr in ("update", "bulk_update", "update_or_create") and "state" in names:
            yield node.lineno
        if node.func.attr in ("save", "bulk_update", "update_or_create") and '"state"' in ast.unparse(node).replace(
            "'", '"'
        ):
            yield node.lineno


def test_no_module_but_one_writes_a_state() -> None:
    found = [f"{path}:{line}" for path, tree in sources() if path != WRITER for line in writes_of_state(tree)]
    assert found == []


def test_lease_columns_are_written_in_one_module() -> None:
    """The only implementation of claim, renew and release."""
    columns = {"lease_until", "epoch", "wakes", "wakes_seen"}
    found = {
        str(path)
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "update"
        and columns & {keyword.arg for keyword in node.keywords}
    }
    assert found == {"webapp/control/lease.py"}


def with_state() -> list[type[models.Model]]:
    return [model for model in apps.get_models() if any(f.name == "state" for f in model._meta.concrete_fields)]


def test_these_kinds_have_a_state() -> None:
    assert sorted(model.__name__ for model in with_state()) == [
        "ArtifactCopy", "Backup", "Host", "Job", "Notification", "Replica", "Rollout", "ScheduleRun",
    ]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["Host", "Replica", "ArtifactCopy"])
def test_the_database_takes_no_other_word(model: str, deployment: object) -> None:
    kind = next(found for found in with_state() if found.__name__ == model)
    with pytest.raises(IntegrityError), transaction.atomic():
        kind._default_manager.update(state="asleep")


@pytest.mark.django_db
def test_every_state_column_has_a_check() -> None:
    with connection.cursor() as cursor:
        for model in with_state():
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
            assert any(name.endswith("_state_known") and one["check"] for name, one in found.items()), model
