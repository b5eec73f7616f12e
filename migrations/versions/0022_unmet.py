"""Since when no living worker may take a task that waits.

A worker of the release before knows neither column. What it takes keeps what was noted; once that
is ten minutes old it counts for nothing.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | Sequence[str] | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("unmet_since", sa.Float(), nullable=True))
    op.add_column("tasks", sa.Column("unmet_seen", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("tasks", "unmet_seen")
    op.drop_column("tasks", "unmet_since")
