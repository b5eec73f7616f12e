"""How many bytes held-out pictures take, to be counted with what else a key's tasks keep.

A process of the release before writes none: what is NULL counts as nothing until a worker has asked
the store (`app.db.filling`), which a migration cannot.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | Sequence[str] | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("held_out_sets", sa.Column("bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("held_out_sets", "bytes")
