"""Fills every table of every room with rows that use every column, so that nothing new is forgotten by a backup."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

# What COPY, JSON and SQL escape, in one line.
NASTY = 'Zoë\'s \\N \\t \t\n\r"100 %" ; -- 漢字 \u2028 {}'
ROWS = 3
# Columns whose constraints are about several at once.
FITTING: dict[str, dict[str, Any]] = {"accounts.OneTimeLink": {"kind": "invitation", "person_id": None}}


def fill() -> dict[str, int]:
    """Rows made per table. Raises AssertionError naming a model that could not be filled."""
    made: dict[str, int] = {}
    for model in _in_order():
        if model._meta.proxy or not model._meta.managed or _is_taken(model):
            continue
        made[model._meta.db_table] = sum(_make(model, number) for number in range(1, ROWS + 1))
    empty = [table for table, count in made.items() if count == 0]
    assert not empty, f"no row could be made for {empty}: teach tests/operations/filler.py about them"
    return made


def _in_order() -> list[type[models.Model]]:
    """What others point at comes first."""
    left = list(apps.get_models(include_auto_created=True))
    done: list[type[models.Model]] = []
    while left:
        ready = [m for m in left if all(t in done or t is m or t not in left for t in _targets(m))] or left[:1]
        done += ready
        left = [m for m in left if m not in ready]
    return done


def _targets(model: type[models.Model]) -> list[type[models.Model]]:
    fields = model._meta.local_concrete_fields
    return [f.related_model for f in fields if f.is_relation and isinstance(f.related_model, type)]


def _is_taken(model: type[models.Model]) -> bool:
    # Made by the migrations themselves.
    return model._meta.label in ("contenttypes.ContentType", "auth.Permission")


def _make(model: type[models.Model], number: int) -> bool:
    for richness in ("all", "half", "defaults"):
        values = {f.attname: _value(f, number, richness) for f in model._meta.local_concrete_fields if _is_ours(f)}
        values |= FITTING.get(model._meta.label, {})
        try:
            with transaction.atomic():
                row = model(**values)
                row.save_base(force_insert=True)
                connection.check_constraints()
            return True
        except IntegrityError:
            continue
    return False


def _is_ours(field: models.Field[Any, Any]) -> bool:
    return not (isinstance(field, models.AutoField) or getattr(field, "generated", False))


def _value(field: Any, number: int, richness: str) -> Any:
    if field.is_relation:
        target = field.related_model._base_manager.order_by("pk")
        found = list(target.values_list(field.target_field.attname, flat=True)[:ROWS])
        if not found or (field.null and richness == "half"):
            return None
        return found[(number - 1) % len(found)]
    if richness == "defaults" and field.has_default() and not field.unique:
        return field.get_default()
    if field.null and number == ROWS and not field.unique:
        return None
    if field.choices:
        return field.choices[number % len(field.choices)][0]
    return _plain(field, number)


def _plain(field: Any, number: int) -> Any:
    instant = datetime.datetime(2026, 11, number, 12, 30, 45, 123456, tzinfo=datetime.UTC)
    by_type = (
        (models.JSONField, lambda: {"text": NASTY, "list": [number, 1.5, None, True], "deep": {"ä": {}}}),
        (models.UUIDField, lambda: uuid.uuid5(uuid.NAMESPACE_URL, f"{field.model._meta.label}{number}")),
        (models.GenericIPAddressField, lambda: f"172.31.5.{number}"),
        (models.BooleanField, lambda: number % 2 == 1),
        (models.DecimalField, lambda: decimal.Decimal(number) / 8),
        (models.FloatField, lambda: number / 3),
        (models.BinaryField, lambda: bytes(range(256))),
        (models.DateTimeField, lambda: instant),
        (models.DateField, lambda: instant.date()),
        (models.TimeField, lambda: instant.time()),
        (models.DurationField, lambda: datetime.timedelta(seconds=number, microseconds=7)),
        (models.BigIntegerField, lambda: 2**40 if not field.unique else 2**40 + number),
        (models.IntegerField, lambda: number if field.unique else 3),
        (models.SlugField, lambda: f"slug-{number}"),
        (models.EmailField, lambda: f"person{number}@example.org"),
        (models.CharField, lambda: f"{number} {NASTY}"[: field.max_length]),
        (models.TextField, lambda: f"{number} {NASTY * 50}"),
    )
    for kind, make in by_type:
        if isinstance(field, kind):
            return make()
    raise AssertionError(f"{field} is of a type that tests/operations/filler.py does not know")


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables as the database gives them, sorted."""
    from webapp.operations import tables

    found = {}
    for table in tables.names(connection):
        columns = sorted(tables.columns(connection, table))
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {tables.quoted(connection, *columns)} FROM {tables.quoted(connection, table)}")
            found[table] = sorted(cursor.fetchall(), key=repr)
    return found
