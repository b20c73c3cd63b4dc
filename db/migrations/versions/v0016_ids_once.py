"""Images and regions whose ids SQLite never gives again: versions, maps and Label Studio's tasks know them by these."""

from alembic import op

revision = "0016"
down_revision = "0015"


def _copy(*, once: bool) -> None:
    """Make both tables anew, as SQLite must; PostgreSQL never gives an id twice."""
    if op.get_context().dialect.name == "sqlite":
        for table in ("image", "region"):
            kind = {"sqlite_autoincrement": once}
            with op.batch_alter_table(table, recreate="always", table_kwargs=kind):
                pass


def upgrade() -> None:
    _copy(once=True)


def downgrade() -> None:
    _copy(once=False)
