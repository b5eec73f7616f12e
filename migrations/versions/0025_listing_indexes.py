"""Indexes for the queue of a model, and for the tasks of a state by their end.

Places in queues were counted along all tasks of their models, and tasks that failed were sorted
whole for a page of them.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0025"
down_revision: str | Sequence[str] | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_tasks_model_id_state_sequence", "tasks", ["model_id", "state", "sequence"])
    op.create_index(
        "ix_tasks_state_finished_at_sequence", "tasks", ["state", "finished_at", "sequence"]
    )
    op.drop_index("ix_tasks_model_id_state", "tasks")  # the first one begins with it


def downgrade() -> None:
    op.create_index("ix_tasks_model_id_state", "tasks", ["model_id", "state"])
    op.drop_index("ix_tasks_state_finished_at_sequence", "tasks")
    op.drop_index("ix_tasks_model_id_state_sequence", "tasks")
