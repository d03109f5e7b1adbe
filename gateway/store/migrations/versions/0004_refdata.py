"""Reference data: what is registered, where it is staged, which images and jobs have it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import gateway.store.tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refdata",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.String(), nullable=False),
        sa.Column("part_sizes", sa.JSON(), nullable=True),
        sa.Column("crc64nvme", sa.String(), nullable=True),
        sa.Column("check_crc64nvme", sa.Boolean(), nullable=False),
        sa.Column("unpack", sa.Boolean(), nullable=False),
        sa.Column("registered_by", sa.String(), nullable=False),
        sa.Column("registered_on", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("bucket", "key", "etag", "number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "refdata_site",
        sa.Column("refdata_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("remove", sa.Boolean(), nullable=False),
        sa.Column("unpacked_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("refdata_id", "site"),
    )
    op.create_table(
        "refdata_transition",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("refdata_id", sa.Integer(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("time", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("refdata_transition") as batch:
        batch.create_index("ix_refdata_transition_refdata_id", ["refdata_id"], unique=False)
    op.create_table(
        "job_refdata",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("refdata_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )
    with op.batch_alter_table("job_refdata") as batch:
        batch.create_index("ix_job_refdata_refdata_id", ["refdata_id"], unique=False)
    with op.batch_alter_table("image") as batch:
        batch.add_column(sa.Column("refdata_id", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("default_refdata_mount_point", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("image") as batch:
        batch.drop_column("default_refdata_mount_point")
        batch.drop_column("refdata_id")
    with op.batch_alter_table("job_refdata") as batch:
        batch.drop_index("ix_job_refdata_refdata_id")
    op.drop_table("job_refdata")
    with op.batch_alter_table("refdata_transition") as batch:
        batch.drop_index("ix_refdata_transition_refdata_id")
    op.drop_table("refdata_transition")
    op.drop_table("refdata_site")
    op.drop_table("refdata")
