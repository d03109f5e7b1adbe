"""How often a container was put back into the queue, by Slurm or by the gateway."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "container", sa.Column("requeued", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("container", "requeued")
