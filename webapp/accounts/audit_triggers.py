"""The database's own refusal to change the audit log: triggers for SQLite and PostgreSQL.

On SQLite a migration that rebuilds accounts_auditentry (AlterField, for one) drops them silently: such a migration must
end with `install` again. tests/operations/test_fresh.py looks at a freshly migrated database.
"""

from typing import Any

_SQLITE = (
    """
    CREATE TRIGGER accounts_audit_no_update BEFORE UPDATE ON accounts_auditentry
    BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END
    """,
    """
    CREATE TRIGGER accounts_audit_no_delete BEFORE DELETE ON accounts_auditentry
    WHEN NOT EXISTS (SELECT 1 FROM accounts_auditretention WHERE OLD.at < accounts_auditretention.before)
    BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END
    """,
)
_SQLITE_OFF = (
    "DROP TRIGGER IF EXISTS accounts_audit_no_update",
    "DROP TRIGGER IF EXISTS accounts_audit_no_delete",
)

_POSTGRESQL = (
    """
    CREATE OR REPLACE FUNCTION accounts_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM accounts_auditretention r WHERE OLD.at < r.before) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit log is not changed' USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER accounts_audit_no_change BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_refuse()
    """,
)
_POSTGRESQL_OFF = (
    "DROP TRIGGER IF EXISTS accounts_audit_no_change ON accounts_auditentry",
    "DROP FUNCTION IF EXISTS accounts_audit_refuse()",
)


def install(schema_editor: Any) -> None:
    """Put the triggers in place, on whichever of the two databases this is."""
    remove(schema_editor)
    _run(schema_editor, _SQLITE if _is_sqlite(schema_editor) else _POSTGRESQL)


def remove(schema_editor: Any) -> None:
    _run(schema_editor, _SQLITE_OFF if _is_sqlite(schema_editor) else _POSTGRESQL_OFF)


def _is_sqlite(schema_editor: Any) -> bool:
    return bool(schema_editor.connection.vendor == "sqlite")


def _run(schema_editor: Any, statements: tuple[str, ...]) -> None:
    with schema_editor.connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
