"""Failed tasks that may be tried again."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("tidied_at", sa.DateTime(timezone=True), nullable=True))
    # Until now nothing of a failed task was kept.
    op.execute("UPDATE tasks SET tidied_at = finished_at WHERE state = 'failed'")


def downgrade() -> None:
    op.drop_column("tasks", "tidied_at")
