"""Jobs that take several slots at once, and jobs that wait for another."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("job", sa.Column("width", sa.Integer(), nullable=False, server_default=sa.text("1")))
    # written out: alembic would copy SQLite's table for a column that references another
    op.execute("ALTER TABLE job ADD COLUMN after_id INTEGER REFERENCES job (id)")


def downgrade() -> None:
    with op.batch_alter_table("job") as changed:
        changed.drop_column("after_id")
        changed.drop_column("width")
