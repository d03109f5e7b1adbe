"""Bearer tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import gateway.store.tables

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.Column("last_used", gateway.store.tables.UtcDateTime(), nullable=True),
        sa.Column("revoked", gateway.store.tables.UtcDateTime(), nullable=True),
        sa.Column("revoked_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("token") as batch:
        batch.create_index("ix_token_user", ["user"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("token") as batch:
        batch.drop_index("ix_token_user")
    op.drop_table("token")
