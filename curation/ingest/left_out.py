"""List the files that imports left out of a data set, with the reason.

`python -m curation.ingest.left_out --dataset NAME` prints it as CSV.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine, reading
from db.queries.data_set_queries import existing_dataset, refused_page
from grain.command import run_command

COLUMNS = ("file", "inside", "reason")
PAGE = 5_000  # files that are read at a time
MOST_FILES = 200_000  # of a list that a browser takes
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # with which a cell would be computed by a spreadsheet


def left_out_csv(engine: Engine, name: str, *, most: int | None = None) -> str:
    """Write a row a file: its name, the file inside an archive, the reason; in the order in which they were met.

    A file below the data set's own source is named by its path from there, any other by its name alone.

    Args:   most: rows; None for all.
    Raises: UserError: no such data set.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, row in enumerate(_rows(engine, name)):
        if number == most:
            table.writerow((f"and more: python -m curation.ingest.left_out --dataset {name}", "", ""))
            break
        table.writerow(map(_plain, row))
    return text.getvalue()


def _rows(engine: Engine, name: str) -> Iterator[tuple[str, str, str]]:
    after = 0
    with reading(engine) as session:
        dataset = existing_dataset(session, name=name)
        while page := refused_page(session, dataset_id=dataset.id, after=after, limit=PAGE):
            for each in page:
                place = PurePath(each.location)
                below = dataset.source and place.is_relative_to(dataset.source) and str(place) != dataset.source
                yield (str(place.relative_to(dataset.source)) if below else place.name), each.member, each.reason
            after = page[-1].id


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


@dataclass(frozen=True)
class LeftOutConfig:
    """List the files that imports left out of a data set, as CSV."""

    dataset: str
    """Its name."""


def main(config: LeftOutConfig) -> None:
    """Run the command line."""
    sys.stdout.write(left_out_csv(open_engine(database_url(home_folder())), config.dataset))


if __name__ == "__main__":
    run_command(main, LeftOutConfig, module="curation.ingest.left_out")
