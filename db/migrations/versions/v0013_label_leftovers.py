"""What could not be taken of annotations in Label Studio."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "label_leftover",
        sa.Column("id", BIG, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("task_id", BIG, nullable=False),
        sa.Column("remote_id", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "remote_id"),
    )
    op.create_index("ix_label_leftover_page", "label_leftover", ["dataset_id", "id"])
    op.create_index("ix_label_leftover_task", "label_leftover", ["project", "task_id"])


def downgrade() -> None:
    op.drop_table("label_leftover")
