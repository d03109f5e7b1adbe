"""What containers are given: outputs below their numbers, generated files, inputs that all of them get."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job") as batch:
        batch.add_column(
            sa.Column("declobber", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("container") as batch:
        batch.add_column(sa.Column("generated", sa.JSON(), nullable=True))
    with op.batch_alter_table("input_file") as batch:
        batch.alter_column("container", existing_type=sa.Integer(), nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM input_file WHERE container IS NULL")
    with op.batch_alter_table("input_file") as batch:
        batch.alter_column("container", existing_type=sa.Integer(), nullable=False)
    with op.batch_alter_table("container") as batch:
        batch.drop_column("generated")
    with op.batch_alter_table("job") as batch:
        batch.drop_column("declobber")
