"""Names of tasks in a column of their own, to look for.

A process of the release before writes none: what is NULL is read from the spec. So rows that are
there are filled afterwards, a few at a time (`app.db.filling`): all of them here, in the one
transaction of a migration, would keep everybody from the table for as long.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | Sequence[str] | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("name", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("tasks", "name")
