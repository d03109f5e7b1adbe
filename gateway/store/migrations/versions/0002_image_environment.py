"""The variables of an image's configuration; a tag is approved once."""

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
        batch.create_unique_constraint("uq_image_name_tag", ["name", "tag"])


def downgrade() -> None:
    with op.batch_alter_table("image") as batch:
        batch.drop_constraint("uq_image_name_tag", type_="unique")
        batch.drop_column("env")
