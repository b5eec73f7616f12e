"""Names of tasks in a column of their own, to look for.

A process of the release before writes none: what is NULL is read from the spec.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | Sequence[str] | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TASKS = sa.table("tasks", sa.column("name", sa.Text()), sa.column("spec", sa.JSON()))


def upgrade() -> None:
    op.add_column("tasks", sa.Column("name", sa.Text(), nullable=True))
    op.execute(TASKS.update().values(name=TASKS.c.spec["name"].as_string()))


def downgrade() -> None:
    op.drop_column("tasks", "name")
