"""How many requests with pictures a key may have under way at a time.

A process of the release before knows no such limit: until it is replaced, such a key is held by its
other limits alone.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | Sequence[str] | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("concurrent_requests", sa.Integer(), nullable=True))


def downgrade() -> None:
    # Without its limit a key would open more than it was made for.
    op.execute(
        "UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP "
        "WHERE revoked_at IS NULL AND concurrent_requests IS NOT NULL"
    )
    op.drop_column("api_keys", "concurrent_requests")
