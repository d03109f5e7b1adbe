"""Containers that were done before; everyone's jobs by label."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job") as batch:
        batch.add_column(
            sa.Column("skip_check", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.add_column("container", sa.Column("fingerprint", sa.String(), nullable=True))
    op.add_column("container", sa.Column("skipped", sa.String(), nullable=True))
    op.create_index("ix_job_label_value", "job_label", ["key", "value", "job_id"])
    op.create_index("ix_container_fingerprint", "container", ["fingerprint"])


def downgrade() -> None:
    op.drop_index("ix_job_label_value", "job_label")
    op.drop_index("ix_container_fingerprint", "container")
    with op.batch_alter_table("container") as batch:
        batch.drop_column("skipped")
        batch.drop_column("fingerprint")
    with op.batch_alter_table("job") as batch:
        batch.drop_column("skip_check")
