"""PostgreSQL's text search takes words apart at every sign, as FTS5 does; `<red lid>` was a tag to it."""

from alembic import op

revision = "0019"
down_revision = "0018"

BEFORE = "-./_@:&''"
SIGNS = "!\"#$%&''()*+,-./:;<=>?@[]^_`{|}~\\"  # ASCII's; the quote is doubled, as SQL writes it


def upgrade() -> None:
    _index(SIGNS, 32)


def downgrade() -> None:
    _index(BEFORE, 8)


def _index(signs: str, count: int) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP INDEX ix_region_text")
    words = f"to_tsvector('simple', translate(text, '{signs}', '{' ' * count}'))"
    op.execute(f"CREATE INDEX ix_region_text ON region USING gin ({words})")
