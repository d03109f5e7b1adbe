"""Where a job goes in Slurm, and whether a site takes jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import gateway.store.tables

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job") as batch:
        batch.add_column(sa.Column("partition", sa.String(), nullable=True))
        batch.add_column(sa.Column("qos", sa.String(), nullable=True))
        batch.add_column(sa.Column("account", sa.String(), nullable=True))
    op.create_table(
        "site_switch",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("changed", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )


def downgrade() -> None:
    op.drop_table("site_switch")
    with op.batch_alter_table("job") as batch:
        for name in ("account", "qos", "partition"):
            batch.drop_column(name)
