"""Versions and held-out pictures that were deleted: their rows stay and say when."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("versions", "held_out_sets")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Go back; what was deleted is shown again, without its files."""
    for table in TABLES:
        op.drop_column(table, "deleted_at")
