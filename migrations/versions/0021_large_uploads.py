"""Uploads that come in parts.

A collector of the release before does not know the table, and takes an upload that no task has yet
for garbage once it is as old: it is sent again then.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | Sequence[str] | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "large_uploads",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("part_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("blob", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_large_uploads_key_id_api_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_large_uploads")),
    )
    op.create_index("ix_large_uploads_blob", "large_uploads", ["blob"])
    op.create_index("ix_large_uploads_expires_at", "large_uploads", ["expires_at"])
    op.create_index("ix_large_uploads_key_id_sha256", "large_uploads", ["key_id", "sha256"])


def downgrade() -> None:
    op.drop_table("large_uploads")
