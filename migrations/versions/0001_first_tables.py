"""First tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

RUNNING = sa.text("state IN ('validating', 'training', 'evaluating')")

# Tasks and versions point at each other: SQLite takes the links with the table, before there are
# versions; Postgres takes them afterwards.
TASK_LINKS = {
    "parent_id": "fk_tasks_parent_id_versions",
    "version_id": "fk_tasks_version_id_versions",
}


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_table(
        "model_classes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_model_classes_model_id_models"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_model_classes"),
        sa.UniqueConstraint("model_id", "index", name="uq_model_classes_model_id_index"),
        sa.UniqueConstraint("model_id", "name", name="uq_model_classes_model_id_name"),
    )
    alters = op.get_context().dialect.supports_alter
    links = [sa.ForeignKeyConstraint([c], ["versions.id"], name=n) for c, n in TASK_LINKS.items()]
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("dataset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted_by", sa.String(length=100), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_tasks_model_id_models"),
        *([] if alters else links),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.UniqueConstraint(
            "submitted_by", "idempotency_key", name="uq_tasks_submitted_by_idempotency_key"
        ),
    )
    op.create_index("ix_tasks_state_created_at", "tasks", ["state", "created_at"], unique=False)
    op.create_index(
        "uq_tasks_running_model_id",
        "tasks",
        ["model_id"],
        unique=True,
        sqlite_where=RUNNING,
        postgresql_where=RUNNING,
    )
    op.create_table(
        "task_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_events_task_id_tasks"),
        sa.PrimaryKeyConstraint("id", name="pk_task_events"),
    )
    op.create_index("ix_task_events_task_id", "task_events", ["task_id"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("new_classes", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("backbone_start", sa.String(length=300), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("gate", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id_models"),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["versions.id"], name="fk_versions_parent_id_versions"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_versions_task_id_tasks"),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("model_id", "number", name="uq_versions_model_id_number"),
        sa.UniqueConstraint("task_id", name="uq_versions_task_id"),
    )
    if alters:
        for column, name in TASK_LINKS.items():
            op.create_foreign_key(name, "tasks", "versions", [column], ["id"])
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(length=50), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved_by", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_alias_moves_model_id_models"),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_alias_moves_version_id_versions"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_alias_moves"),
        sa.UniqueConstraint(
            "model_id", "alias", "sequence", name="uq_alias_moves_model_id_alias_sequence"
        ),
    )
    op.create_table(
        "held_out_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_held_out_sets_version_id_versions"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_held_out_sets"),
        sa.UniqueConstraint("version_id", name="uq_held_out_sets_version_id"),
    )


def downgrade() -> None:
    op.drop_table("held_out_sets")
    op.drop_table("alias_moves")
    if op.get_context().dialect.supports_alter:
        for name in TASK_LINKS.values():
            op.drop_constraint(name, "tasks", type_="foreignkey")
    op.drop_table("versions")
    op.drop_table("task_events")
    op.drop_table("tasks")
    op.drop_table("model_classes")
    op.drop_table("models")
    op.drop_table("api_keys")
