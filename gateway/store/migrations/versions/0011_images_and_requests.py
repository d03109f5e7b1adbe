"""Images: their platforms, notes, and where they are staged. What users request of the admins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import gateway.store.tables

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, default in (("platforms", "{}"), ("urls", "[]")):
        op.add_column("image", sa.Column(name, sa.JSON(), nullable=False, server_default=default))
    with op.batch_alter_table("image") as batch:
        batch.alter_column("platforms", server_default=None)
        batch.alter_column("urls", server_default=None)
        batch.add_column(sa.Column("usage_notes", sa.Text(), nullable=True))
    _platforms()
    op.create_table(
        "image_site",
        sa.Column("image_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "site"),
    )
    op.create_table(
        "request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("unpack", sa.Boolean(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.Column("answered", gateway.store.tables.UtcDateTime(), nullable=True),
        sa.Column("answered_by", sa.String(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("result", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("request") as batch:
        batch.create_index("ix_request_user_state", ["user", "state"], unique=False)


def _platforms() -> None:
    """Images that were approved before were all for linux/amd64: nothing else was taken."""
    image = sa.table(
        "image",
        sa.column("id", sa.Integer),
        sa.column("digest", sa.String),
        sa.column("entrypoint", sa.JSON),
        sa.column("cmd", sa.JSON),
        sa.column("workdir", sa.String),
        sa.column("env", sa.JSON),
        sa.column("platforms", sa.JSON),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(image)).mappings().all():
        config = {name: row[name] for name in ("entrypoint", "cmd", "workdir", "env")}
        known = {"linux/amd64": {"digest": row["digest"], "config": config}}
        change = sa.update(image).where(image.c.id == row["id"]).values(platforms=known)
        connection.execute(change)


def downgrade() -> None:
    with op.batch_alter_table("request") as batch:
        batch.drop_index("ix_request_user_state")
    op.drop_table("request")
    op.drop_table("image_site")
    with op.batch_alter_table("image") as batch:
        batch.drop_column("usage_notes")
        batch.drop_column("urls")
        batch.drop_column("platforms")
