"""When a person gave the label that an undo brings back, so that the next undo takes the newest."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("concept_label", sa.Column("before_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("concept_label", "before_at")
