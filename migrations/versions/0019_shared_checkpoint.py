"""The last checkpoint of a task that runs, where workers share nothing but the blob store.

A collector of the release before does not know the column, and takes an old checkpoint for
garbage: a task that is taken over then begins again, and says so.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | Sequence[str] | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("checkpoint", sa.String(length=64), nullable=True))
    op.create_index("ix_tasks_checkpoint", "tasks", ["checkpoint"])


def downgrade() -> None:
    op.drop_index("ix_tasks_checkpoint", "tasks")
    op.drop_column("tasks", "checkpoint")
