"""Projects of Label Studio that models learn from."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | Sequence[str] | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "label_studio_projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("annotations", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.String(length=220), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("by_admin", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=True),
        sa.Column("create", sa.Boolean(), nullable=False),
        sa.Column("next_asked_by", sa.String(length=220), nullable=True),
        sa.Column("next_by_admin", sa.Boolean(), nullable=False),
        sa.Column("next_key_id", sa.Integer(), nullable=True),
        sa.Column("next_create", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("imports", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("pictures_in_all", sa.Integer(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name="fk_label_studio_projects_key_id_api_keys"
        ),
        sa.ForeignKeyConstraint(
            ["next_key_id"], ["api_keys.id"], name="fk_label_studio_projects_next_key_id_api_keys"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
            name="fk_label_studio_projects_task_id_tasks",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_studio_projects"),
        sa.UniqueConstraint("project", "model", name="uq_label_studio_projects_project_model"),
    )
    op.create_index("ix_label_studio_projects_task_id", "label_studio_projects", ["task_id"])


def downgrade() -> None:
    op.drop_table("label_studio_projects")
