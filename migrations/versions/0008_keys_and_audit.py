"""What keys may, whose tasks are whose, and an audit log that only grows."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | Sequence[str] | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KEY_COLUMNS: dict[str, sa.types.TypeEngine[object]] = {
    "models": sa.JSON(),
    "expires_at": sa.DateTime(timezone=True),
    "requests_per_minute": sa.Integer(),
    "pictures_per_minute": sa.Integer(),
    "queued_tasks": sa.Integer(),
    "stored_bytes": sa.BigInteger(),
    "last_used_at": sa.DateTime(timezone=True),
}

REVOKE_WHAT_HAD_RULES = """
UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP WHERE revoked_at IS NULL AND (
    CAST(models AS TEXT) NOT IN ('[]', 'null') OR expires_at IS NOT NULL
    OR requests_per_minute IS NOT NULL OR pictures_per_minute IS NOT NULL
    OR queued_tasks IS NOT NULL OR stored_bytes IS NOT NULL
)
"""

SQLITE_TRIGGER = """
CREATE TRIGGER audit_entries_no_{verb} BEFORE {verb} ON audit_entries
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END
"""

# REPLACE deletes behind the triggers.
SQLITE_REPLACE_TRIGGER = """
CREATE TRIGGER audit_entries_no_replace BEFORE INSERT ON audit_entries
WHEN EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END
"""

POSTGRES_FUNCTION = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$
"""

POSTGRES_TRIGGERS = (
    "CREATE TRIGGER audit_entries_no_change BEFORE UPDATE OR DELETE ON audit_entries "
    "FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()",
    "CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries "
    "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()",
)


def upgrade() -> None:
    for name, kind in KEY_COLUMNS.items():
        op.add_column("api_keys", sa.Column(name, kind, nullable=True))
    # As text: SQLite takes the link with its column, and making the table anew, as Alembic's batch
    # mode would, breaks the links that lead to it.
    op.execute(
        "ALTER TABLE tasks ADD COLUMN key_id INTEGER "
        "CONSTRAINT fk_tasks_key_id_api_keys REFERENCES api_keys (id)"
    )
    op.create_index("ix_tasks_key_id", "tasks", ["key_id"])
    # Names are unique and never given again, so they say which key it was.
    op.execute(
        "UPDATE tasks SET key_id = "
        "(SELECT api_keys.id FROM api_keys WHERE api_keys.name = tasks.submitted_by)"
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("actor_type", sa.String(length=20), nullable=False),
        sa.Column("actor_name", sa.String(length=200), nullable=False),
        sa.Column("request_id", sa.String(length=200), nullable=True),
        sa.Column("model", sa.String(length=100), nullable=True),
        sa.Column("object", sa.String(length=300), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(POSTGRES_FUNCTION)
        for trigger in POSTGRES_TRIGGERS:
            op.execute(trigger)
    else:
        for verb in ("UPDATE", "DELETE"):
            op.execute(SQLITE_TRIGGER.format(verb=verb))
        op.execute(SQLITE_REPLACE_TRIGGER)


def downgrade() -> None:
    op.drop_table("audit_entries")
    op.drop_index("ix_tasks_key_id", "tasks")
    if op.get_context().dialect.supports_alter:
        op.drop_constraint("fk_tasks_key_id_api_keys", "tasks", type_="foreignkey")
        op.execute("DROP FUNCTION refuse_audit_change()")
    op.drop_column("tasks", "key_id")
    # Without its rules a key would open more than it was made for, and an expired one would work.
    op.execute(REVOKE_WHAT_HAD_RULES)
    for name in KEY_COLUMNS:
        op.drop_column("api_keys", name)
