"""Run the migrations: alembic runs this file for each.

The app hands over its open connection (db/engine.py). From the command line: `alembic -x url=sqlite:///draft.sqlite …`.
"""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

from db.engine import connect_to
from db.models import is_declared  # with it SQLModel.metadata is filled


def migrate(connection: Connection) -> None:
    """Run the wanted migrations on an open connection; the caller that opened it commits."""
    # render_as_batch: SQLite cannot alter most of a table, so alembic copies it
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,
        include_name=is_declared,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    migrate(handed_over)
else:
    with connect_to(context.get_x_argument(as_dictionary=True)["url"]).begin() as opened:
        migrate(opened)
