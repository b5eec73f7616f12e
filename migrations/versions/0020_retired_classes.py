"""Classes that were taken away: their indices are never given again, and what was measured of it.

The row of a retired class gets a name that no class can have, and keeps its own beside it: so a
process of the release before gives the index to nobody either.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | Sequence[str] | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("model_classes", sa.Column("retired_name", sa.String(length=200), nullable=True))
    op.add_column("versions", sa.Column("retirement", sa.JSON(), nullable=True))
    op.add_column("versions", sa.Column("erasure", sa.String(length=10), nullable=True))
    op.add_column("versions", sa.Column("receipt", sa.JSON(), nullable=True))
    op.create_index("ix_versions_erasure", "versions", ["erasure"])


def downgrade() -> None:
    """Go back; indices of retired classes stay given, under names that nobody can ask for."""
    op.drop_index("ix_versions_erasure", "versions")
    for column in ("receipt", "erasure", "retirement"):
        op.drop_column("versions", column)
    op.drop_column("model_classes", "retired_name")
