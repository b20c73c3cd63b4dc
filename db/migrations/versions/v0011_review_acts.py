"""Acts on many regions with one undo each, tags, saved filters."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KINDS = "'accept', 'reject', 'reopen', 'relabel', 'tag', 'untag', 'delete', 'restore', 'keep one', 'empty trash'"


def _partial(name: str, *columns: str, where: str) -> None:
    op.create_index(name, "region_tag", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    op.create_table(
        "review_act",
        sa.Column("id", BIG, nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("regions", sa.Integer(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("undone_by", sa.String(), nullable=False),
        sa.CheckConstraint(f"kind IN ({KINDS})", name="kind_is_known"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("action"),
    )
    op.create_index("ix_review_act_latest", "review_act", ["dataset_id", "id"])
    op.create_table(
        "region_tag",
        sa.Column("region_id", BIG, nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("removed_by", sa.String(), nullable=False, server_default=sa.text("''")),
        sa.Column("returned_by", sa.String(), nullable=False, server_default=sa.text("''")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["region_id"], ["region.id"]),
        sa.PrimaryKeyConstraint("region_id", "tag"),
    )
    _partial("ix_region_tag_there", "dataset_id", "tag", "region_id", where="removed_by = ''")
    op.create_index("ix_region_tag_added", "region_tag", ["added_by"])
    _partial("ix_region_tag_removed", "removed_by", where="removed_by <> ''")
    _partial("ix_region_tag_returned", "returned_by", where="returned_by <> ''")
    op.create_table(
        "saved_filter",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dataset_id", "name"),
    )
    op.create_index("ix_region_edit_action", "region_edit", ["action", "id"])


def downgrade() -> None:
    op.drop_index("ix_region_edit_action", "region_edit")
    for table in ("saved_filter", "region_tag", "review_act"):
        op.drop_table(table)
