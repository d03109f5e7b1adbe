"""The variables of an image's configuration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("image", sa.Column("env", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("image") as batch:
        batch.alter_column("env", server_default=None)


def downgrade() -> None:
    op.drop_column("image", "env")
