"""The form in which each annotation in Label Studio was taken last, so that none is taken twice."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("label_task", sa.Column("taken", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("label_task", "taken")
