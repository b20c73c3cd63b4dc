"""Interrupted jobs that are tried again by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("job", sa.Column("retries", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("job", sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("retry_done", BIG, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    with op.batch_alter_table("job") as changed:
        changed.drop_column("retry_done")
        changed.drop_column("retry_at")
        changed.drop_column("retries")
