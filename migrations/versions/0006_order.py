"""The order in which tasks were posted, from the database, and indexes for how tasks are read."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

IN_ORDER = """
UPDATE tasks SET sequence = ordered.place FROM (
    SELECT id, row_number() OVER (ORDER BY created_at, id) AS place FROM tasks
) AS ordered WHERE ordered.id = tasks.id
"""
"""What until now was the order."""

FROM_NOW_ON = (
    "CREATE SEQUENCE tasks_sequence_seq OWNED BY tasks.sequence",
    "SELECT setval('tasks_sequence_seq', (SELECT count(*) + 1 FROM tasks), false)",
    # For processes of the version before, which insert without it while servers are replaced.
    "ALTER TABLE tasks ALTER COLUMN sequence SET DEFAULT nextval('tasks_sequence_seq')",
)


def upgrade() -> None:
    op.add_column("tasks", sa.Column("sequence", sa.BigInteger(), nullable=True))
    op.execute(IN_ORDER)
    if op.get_context().dialect.name == "postgresql":
        for statement in FROM_NOW_ON:
            op.execute(statement)
    op.drop_index("ix_tasks_state_created_at", table_name="tasks")
    op.create_index("ix_tasks_sequence", "tasks", ["sequence"], unique=True)
    op.create_index("ix_tasks_state_sequence", "tasks", ["state", "sequence"])
    op.create_index("ix_tasks_model_id_sequence", "tasks", ["model_id", "sequence"])
    op.create_index("ix_tasks_dataset", "tasks", ["dataset"])
    op.create_index("ix_tasks_evaluation", "tasks", ["evaluation"])


def downgrade() -> None:
    for column in ("evaluation", "dataset", "model_id_sequence", "state_sequence", "sequence"):
        op.drop_index(f"ix_tasks_{column}", table_name="tasks")
    op.create_index("ix_tasks_state_created_at", "tasks", ["state", "created_at"])
    op.drop_column("tasks", "sequence")
