"""What a version takes each class for, counted on held-out pictures."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | Sequence[str] | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("confusion", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("versions", "confusion")
