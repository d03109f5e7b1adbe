"""Lists of jobs by name, label and image; who else may read a job; which others it waits for; the keys of requests that may come twice."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

import gateway.store.tables

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_label",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key"),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("created", gateway.store.tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user", "key"),
    )
    op.create_table(
        "job_share",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "kind", "name"),
    )
    op.create_table(
        "job_dependency",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("on_job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("condition", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "on_job_id", "condition"),
    )
    op.add_column("job", sa.Column("image_name", sa.String(), nullable=True))
    _fill()
    op.create_index("ix_job_label_user_key", "job_label", ["user", "key", "job_id"])
    op.create_index("ix_job_label_user_value", "job_label", ["user", "key", "value", "job_id"])
    op.create_index("ix_idempotency_key_created", "idempotency_key", ["created"])
    op.create_index("ix_job_share_name", "job_share", ["kind", "name", "job_id"])
    op.create_index("ix_job_user_id", "job", ["user", "id"])
    op.create_index("ix_job_user_name", "job", ["user", "name", "id"])
    op.create_index("ix_job_user_image", "job", ["user", "image_name", "id"])


def _fill() -> None:
    """Take the names of the images of the jobs that are there out of their documents."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, image FROM job")).fetchall()
    for number, image in rows:
        document = json.loads(image) if isinstance(image, str) else image
        connection.execute(
            sa.text("UPDATE job SET image_name = :name WHERE id = :id"),
            {"name": document["name"], "id": number},
        )


def downgrade() -> None:
    for name in ("ix_job_user_image", "ix_job_user_name", "ix_job_user_id"):
        op.drop_index(name, "job")
    with op.batch_alter_table("job") as batch:
        batch.drop_column("image_name")
    op.drop_table("job_dependency")
    op.drop_table("job_share")
    op.drop_table("idempotency_key")
    op.drop_table("job_label")
