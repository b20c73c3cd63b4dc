"""Acts that restore a version or undo a run or an import, and what an import brought."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KINDS = "'accept', 'reject', 'reopen', 'relabel', 'tag', 'untag', 'delete', 'restore', 'keep one', 'empty trash'"
WIDE = "'restore version', 'undo run', 'undo import'"


def _allow(kinds: str) -> None:
    """Replace the constraint of the acts' kinds."""
    with op.batch_alter_table("review_act") as table:
        table.drop_constraint("kind_is_known", type_="check")
        table.create_check_constraint("kind_is_known", f"kind IN ({kinds})")


def upgrade() -> None:
    _allow(f"{KINDS}, {WIDE}")
    op.create_table(
        "annotation_import",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("regions", BIG, nullable=False),
        sa.Column("ranges", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("action"),
    )
    op.create_index("ix_annotation_import_page", "annotation_import", ["dataset_id", "id"])


def downgrade() -> None:
    op.drop_table("annotation_import")
    op.execute(f"DELETE FROM review_act WHERE kind IN ({WIDE})")
    _allow(KINDS)
