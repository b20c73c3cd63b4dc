"""Indexes of keys whose rows the database looks for with each region, description or picture that is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

MAYBE = {  # keys that many rows do not have: index, table, column
    "ix_region_box": ("region", "box_id"),
    "ix_region_description": ("region", "description_id"),
    "ix_region_stage_result": ("region", "stage_result_id"),
    "ix_label_conflict_region": ("label_conflict", "region_id"),
}
ALWAYS = {
    "ix_label_conflict_image": ("label_conflict", "image_id"),
    "ix_label_leftover_image": ("label_leftover", "image_id"),
    "ix_label_task_image": ("label_task", "image_id"),
}


def upgrade() -> None:
    for name, (table, column) in MAYBE.items():
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
    for name, (table, column) in ALWAYS.items():
        op.create_index(name, table, [column])


def downgrade() -> None:
    for name, (table, _) in {**MAYBE, **ALWAYS}.items():
        op.drop_index(name, table)
