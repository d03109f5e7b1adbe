"""A submission has a list of containers, several of them in a task where the site says so; containers are run again."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job") as batch:
        batch.add_column(sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("container") as batch:
        batch.add_column(sa.Column("task", sa.Integer(), nullable=True))
        batch.add_column(
            sa.Column("upload_only", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch.add_column(sa.Column("retried", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("earlier", sa.JSON(), nullable=False, server_default="[]"))
        batch.create_index("ix_container_phase", ["phase"], unique=False)
    with op.batch_alter_table("submission") as batch:
        batch.add_column(sa.Column("containers", sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(sa.Column("per_task", sa.Integer(), nullable=False, server_default="1"))
        batch.add_column(
            sa.Column("upload_only", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    _list_containers()
    for table, columns in (
        ("job", ("retries",)),
        ("container", ("upload_only", "retried", "earlier")),
        ("submission", ("containers", "per_task", "upload_only")),
    ):
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.alter_column(column, server_default=None)
            if table == "submission":
                batch.drop_column("first")
                batch.drop_column("count")


def _list_containers() -> None:
    """Write down what followed from the first container of a submission and their number."""
    connection = op.get_bind()
    rows = connection.execute(sa.text('SELECT id, job_id, first, "count" FROM submission')).all()
    for number, job_id, first, count in rows:
        connection.execute(
            sa.text("UPDATE submission SET containers = :those WHERE id = :id"),
            {"those": json.dumps(list(range(first, first + count))), "id": number},
        )
        connection.execute(
            sa.text(
                'UPDATE container SET submission_id = :id, task = "index" - :first '
                'WHERE job_id = :job AND "index" >= :first AND "index" < :last'
            ),
            {"id": number, "job": job_id, "first": first, "last": first + count},
        )


def downgrade() -> None:
    with op.batch_alter_table("submission") as batch:
        batch.add_column(sa.Column("first", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("count", sa.Integer(), nullable=False, server_default="0"))
        batch.drop_column("upload_only")
        batch.drop_column("per_task")
        batch.drop_column("containers")
    with op.batch_alter_table("container") as batch:
        batch.drop_index("ix_container_phase")
        for column in ("earlier", "retried", "upload_only", "task"):
            batch.drop_column(column)
    with op.batch_alter_table("job") as batch:
        batch.drop_column("retries")
