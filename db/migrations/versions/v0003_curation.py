"""Curation: edits and their history, what orders and searches regions, versions, labels, tasks, accounts.

Quick at a million regions: columns come with constant defaults, and no row is rewritten. `index_annotations` does the
rest afterwards, a batch at a time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NEW_COLUMNS = {
    "image": ["review VARCHAR DEFAULT 'open' NOT NULL", "facts JSON", "version INTEGER DEFAULT 1 NOT NULL"],
    "annotation": [
        "region_id {big} REFERENCES annotation (id)",
        "similarity FLOAT",
        "disagreement FLOAT",
        "run_id INTEGER REFERENCES annotation_run (id)",
        "indexed BOOLEAN DEFAULT false NOT NULL",
    ],
}
TABLES = (
    "login_session account label_task concept_label dataset_version annotation_edit annotation_tally annotation_text"
).split()
# names with dots, hyphens and slashes are one word to PostgreSQL, which FTS5 takes apart
WORDS = "to_tsvector('simple', translate(text, '-./_@:&''', '        '))"


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    # written out: alembic would copy SQLite's table for a column that references another
    for table, columns in NEW_COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN " + column.format(big="BIGINT" if postgresql else "INTEGER"))
    op.create_index("ix_image_review", "image", ["dataset_id", "review", "id"])
    _partial_index("ix_annotation_new", ["id"], "indexed IS false")
    _partial_index("ix_annotation_score", ["dataset_id", "status", "score", "id"], "indexed IS true")
    _partial_index(
        "ix_annotation_disagreement", ["dataset_id", "status", "disagreement", "id"], "disagreement IS NOT NULL"
    )
    _partial_index("ix_annotation_run", ["run_id", "status", "id"], "run_id IS NOT NULL")
    if postgresql:
        op.execute(f"CREATE INDEX ix_annotation_text ON annotation USING gin ({WORDS})")
    else:
        op.execute('CREATE VIRTUAL TABLE annotation_text USING fts5(text, tokenize = "unicode61 remove_diacritics 0")')
    op.create_table(
        "annotation_tally",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("annotations", BIG, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "source", "status"),
    )
    op.create_table(
        "annotation_edit",
        sa.Column("id", BIG, nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("annotation_id", BIG, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("from_model", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("undoes", sa.String(), nullable=True),
        sa.CheckConstraint(
            "what IN ('created', 'edited', 'accepted', 'rejected', 'reopened', 'deleted', 'restored', 'undone')",
            name="what_is_known",
        ),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotation.id"]),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_annotation_edit_annotation", "annotation_edit", ["annotation_id", "version"])
    op.create_index("ix_annotation_edit_at", "annotation_edit", ["dataset_id", "at"])
    op.create_index("ix_annotation_edit_image", "annotation_edit", ["image_id", "id"])
    op.create_index("ix_annotation_edit_undoes", "annotation_edit", ["undoes"])
    op.create_table(
        "dataset_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("regions", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dataset_id", "name"),
    )
    op.create_table(
        "concept_label",
        sa.Column("id", BIG, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("image_id", "who"),
    )
    op.create_index("ix_concept_label_page", "concept_label", ["dataset_id", "image_id"])
    op.create_table(
        "label_task",
        sa.Column("id", BIG, nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("task_id", BIG, nullable=False),
        sa.Column("pushed_hash", sa.String(), nullable=False),
        sa.Column("pulled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("remote_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "image_id"),
        sa.UniqueConstraint("project", "task_id"),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'curator', 'admin')", name="role_is_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "login_session",
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"]),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_index("ix_login_session_account_id", "login_session", ["account_id"])


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE IF EXISTS {table}")
    for index in ("text", "run", "disagreement", "score", "new"):
        op.execute(f"DROP INDEX IF EXISTS ix_annotation_{index}")
    op.drop_index("ix_image_review", "image")
    for table, columns in NEW_COLUMNS.items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.drop_column(column.split()[0])


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "annotation", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
