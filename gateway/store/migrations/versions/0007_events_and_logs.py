"""Who is told of transitions, and where the logs of ended jobs are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import gateway.store.tables

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = gateway.store.tables.UtcDateTime


def upgrade() -> None:
    op.create_table(
        "subscriber",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("user", sa.String(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("secret", sa.String(), nullable=True),
        sa.Column("states", sa.JSON(), nullable=False),
        sa.Column("containers", sa.Boolean(), nullable=False),
        sa.Column("created", _TIME(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("resent", sa.Integer(), nullable=False),
        sa.Column("last_success", _TIME(), nullable=True),
        sa.Column("failing_since", _TIME(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("disabled", _TIME(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "name"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("subscriber") as batch:
        batch.create_index("ix_subscriber_user", ["user"], unique=False)
    op.create_table(
        "resend",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transition_id", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("time", _TIME(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    # Not in a batch: that makes the table anew, and SQLite would forget that no id of a job is given out twice.
    op.add_column("job", sa.Column("clean", sa.String(), nullable=True))
    op.add_column("job", sa.Column("logpath", sa.String(), nullable=True))
    op.add_column("job", sa.Column("logs_stored", _TIME(), nullable=True))
    op.add_column(
        "job", sa.Column("logs_cleaned", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    for name in ("logs_cleaned", "logs_stored", "logpath", "clean"):
        op.drop_column("job", name)
    op.drop_table("resend")
    op.drop_table("subscriber")
