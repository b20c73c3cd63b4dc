"""One word a thing: `annotation` becomes `region` in tables, columns and indexes; `box_id` says which box it shares."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

TABLES = {"annotation": "region", "annotation_edit": "region_edit", "annotation_tally": "region_tally"}
COLUMNS = (  # table by its new name, old column, new column
    ("region", "region_id", "box_id"),
    ("region_edit", "annotation_id", "region_id"),
    ("label_conflict", "annotation_id", "region_id"),
    ("region_tally", "annotations", "regions"),
)
INDEXES = (  # old name, new name, table by its new name, columns by their new names, where
    ("ix_annotation_status", "ix_region_status", "region", "dataset_id status id", None),
    ("ix_annotation_source", "ix_region_source", "region", "dataset_id source status id", None),
    ("ix_annotation_new", "ix_region_new", "region", "id", "indexed IS false"),
    ("ix_annotation_score", "ix_region_score", "region", "dataset_id status score id", "indexed IS true"),
    (
        "ix_annotation_disagreement",
        "ix_region_disagreement",
        "region",
        "dataset_id status disagreement id score indexed",
        "disagreement IS NOT NULL",
    ),
    ("ix_annotation_run", "ix_region_run", "region", "run_id status id", "run_id IS NOT NULL"),
    ("ix_annotation_edit_image", "ix_region_edit_image", "region_edit", "image_id id", None),
    ("ix_annotation_edit_annotation", "ix_region_edit_region", "region_edit", "region_id version", None),
    ("ix_annotation_edit_at", "ix_region_edit_at", "region_edit", "dataset_id at", None),
    ("ix_annotation_edit_undoes", "ix_region_edit_undoes", "region_edit", "undoes", None),
)


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new)
    _rename_text("annotation_text", "region_text")
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for old, new, table, columns, where in INDEXES:
        _rename_index(old, new, table, columns, where)
    _rename_key("region_edit", "region_id", "box_id")


def downgrade() -> None:
    _rename_key("region_edit", "box_id", "region_id")
    back = {new: old for old, new in TABLES.items()}
    for table, old, new in reversed(COLUMNS):
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    _rename_text("region_text", "annotation_text")
    for new, old in back.items():
        op.rename_table(new, old)
    for old, new, table, columns, where in INDEXES:
        before = columns.replace("region_id", "annotation_id")
        _rename_index(new, old, back[table], before, where)


def _rename_text(old: str, new: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX ix_{old} RENAME TO ix_{new}")
    else:
        op.rename_table(old, new)


def _rename_index(old: str, new: str, table: str, columns: str, where: str | None) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
        return
    op.drop_index(old, table)  # SQLite cannot rename one
    op.create_index(new, table, columns.split(), sqlite_where=None if where is None else sa.text(where))


def _rename_key(table: str, old: str, new: str) -> None:
    """In the kept states of regions. A quote inside a text is escaped there, so no text holds such a key."""
    for column in ("before", "after"):
        op.execute(
            f"UPDATE {table} SET {column} = CAST(REPLACE(CAST({column} AS TEXT), '\"{old}\":', '\"{new}\":') AS JSON) "
            f"WHERE CAST({column} AS TEXT) LIKE '%\"{old}\":%'"
            if op.get_bind().dialect.name == "postgresql"
            else f"UPDATE {table} SET {column} = REPLACE({column}, '\"{old}\":', '\"{new}\":') "
            f"WHERE {column} LIKE '%\"{old}\":%'"
        )
