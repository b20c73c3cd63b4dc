"""Jobs that wait for several others."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "job_wait",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("before_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["before_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "before_id"),
    )
    op.create_index("ix_job_wait_before", "job_wait", ["before_id"])
    op.execute("INSERT INTO job_wait (job_id, before_id) SELECT id, after_id FROM job WHERE after_id IS NOT NULL")
    op.execute("ALTER TABLE job DROP COLUMN after_id")  # written out, as below


def downgrade() -> None:
    # written out: alembic would copy SQLite's table for a column that references another
    op.execute("ALTER TABLE job ADD COLUMN after_id INTEGER REFERENCES job (id)")
    op.execute("UPDATE job SET after_id = (SELECT MAX(before_id) FROM job_wait WHERE job_id = job.id)")
    op.drop_table("job_wait")
