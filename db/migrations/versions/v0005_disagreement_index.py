"""The order by disagreement also knows scores, so that a span of them is found without reading rows."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NAME, WHERE = "ix_annotation_disagreement", "disagreement IS NOT NULL"
COLUMNS = ["dataset_id", "status", "disagreement", "id"]


def upgrade() -> None:
    _make([*COLUMNS, "score", "indexed"])


def downgrade() -> None:
    _make(COLUMNS)


def _make(columns: list[str]) -> None:
    op.drop_index(NAME, "annotation")
    op.create_index(NAME, "annotation", columns, sqlite_where=sa.text(WHERE), postgresql_where=sa.text(WHERE))
