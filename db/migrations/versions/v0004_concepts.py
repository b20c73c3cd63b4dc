"""Novel concepts: classes of a data set, its comparisons with training data, one undo of a person's label."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("concept_label", sa.Column("before", sa.String(), server_default=sa.text("''"), nullable=False))
    op.create_table(
        "concept_set",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("intended_use", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id"),
    )
    op.create_table(
        "leak_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("against", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("compared", BIG, nullable=False),
        sa.Column("skipped", BIG, nullable=False),
        sa.Column("checked", sa.Integer(), nullable=False),
        sa.Column("checked_to", BIG, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dataset_id", "against"),
    )
    op.create_table(
        "leak_suspect",
        sa.Column("id", BIG, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("against", sa.String(), nullable=False),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("match_sha256", sa.String(), nullable=False),
        sa.Column("match_name", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("how IN ('content', 'look', 'embedding')", name="how_is_known"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("image_id", "against", "match_sha256"),
    )
    op.create_index("ix_leak_suspect_page", "leak_suspect", ["dataset_id", "id"])


def downgrade() -> None:
    for table in ("leak_suspect", "leak_check", "concept_set"):
        op.drop_table(table)
    with op.batch_alter_table("concept_label") as changed:
        changed.drop_column("before")
