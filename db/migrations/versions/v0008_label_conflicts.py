"""Decisions of Label Studio that met another edit and wait for a person to choose."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "label_conflict",
        sa.Column("id", BIG, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("annotation_id", BIG, nullable=True),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("remote_id", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("choice", sa.String(), nullable=False),
        sa.Column("chosen_by", sa.String(), nullable=False),
        sa.Column("chosen_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("choice IN ('', 'ours', 'theirs', 'agreed')", name="choice_is_known"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotation.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "remote_id", "image_id", "target"),
    )
    op.create_index("ix_label_conflict_open", "label_conflict", ["dataset_id", "choice", "id"])


def downgrade() -> None:
    op.drop_table("label_conflict")
