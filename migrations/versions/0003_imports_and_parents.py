"""Imports beside steps, and what a step may start from."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NO_GATE = '{"passed": true, "reasons": ["imported"], "figures": [], "settings": {}}'
"""What stands for the gate of an import where every version must have one."""


def upgrade() -> None:
    op.add_column(
        "tasks", sa.Column("kind", sa.String(length=10), server_default="step", nullable=False)
    )
    op.add_column("tasks", sa.Column("evaluation", sa.String(length=64), nullable=True))
    op.add_column(
        "tasks", sa.Column("may_be_base", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    # As text: SQLite takes the link with its column, and making the table anew, as Alembic's batch
    # mode would, breaks the links that lead to it.
    op.execute(
        "ALTER TABLE tasks ADD COLUMN live_id INTEGER "
        "CONSTRAINT fk_tasks_live_id_versions REFERENCES versions (id)"
    )
    # Until now every step started from the live version.
    op.execute("UPDATE tasks SET live_id = parent_id")
    _replace_gate(sa.Column("new_gate", sa.JSON(), nullable=True), "gate")
    op.add_column("versions", sa.Column("origin", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Go back; imported versions stay, as versions of a gate that let everything pass."""
    op.drop_column("versions", "origin")
    gate = sa.Column("new_gate", sa.JSON(), server_default=NO_GATE, nullable=False)
    _replace_gate(gate, f"COALESCE(gate, '{NO_GATE}')")
    if op.get_context().dialect.supports_alter:
        op.drop_constraint("fk_tasks_live_id_versions", "tasks", type_="foreignkey")
    for column in ("live_id", "may_be_base", "evaluation", "kind"):
        op.drop_column("tasks", column)


def _replace_gate(column: sa.Column[object], value: str) -> None:
    """Put a column in the place of `versions.gate`; SQLite cannot change what it may hold."""
    op.add_column("versions", column)
    op.execute(f"UPDATE versions SET new_gate = {value}")  # noqa: S608 - our own text
    op.drop_column("versions", "gate")
    op.alter_column("versions", "new_gate", new_column_name="gate")
