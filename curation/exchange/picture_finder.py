"""Find a data set's picture for a record, by its content's hash, its file name, or the stem of that."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from curation.files.records import PictureRecord
from curation.versions.state import name_of
from db.engine import Engine, reading
from db.models import Image
from db.queries.data_set_queries import find_images, image_page

PAGE = 5_000


@dataclass
class PictureFinder:
    """Finds a data set's picture for a record; names are indexed only when a record without hash comes.

    by_stem: `7.jpg` of a record is any `7.*`; where there is none, any `7_*.*`, as Flickr8k names Flickr30k's pictures.
    """

    engine: Engine
    dataset_id: int
    by_stem: bool = False
    _by_name: dict[bytes, int] | None = None

    def find(self, records: Sequence[PictureRecord]) -> tuple[list[tuple[int, PictureRecord]], list[str]]:
        """Return the records whose picture is there, with its id; and the file names of those that are not."""
        with reading(self.engine) as session:
            hashes = {record.sha256 for record in records if record.sha256}
            by_hash = find_images(session, dataset_id=self.dataset_id, sha256s=hashes)
        found, missing = [], []
        for record in records:
            image = by_hash.get(record.sha256)
            number = image.id if image else 0 if record.sha256 else self._named(record.file_name)
            if number:
                found.append((number, record))
            else:
                missing.append(record.file_name)
        return found, missing

    def _named(self, name: str) -> int:
        """Return the id of the picture of a name; 0 where none has it, or several have."""
        if self._by_name is None:
            self._by_name = {}
            for image in self._images():
                path = _path(image)
                names = _stems(path) if self.by_stem else (path.name, "/".join(path.parts[-2:]), name_of(image))
                for known in {*names}:
                    key = _short(known)
                    # a name that two pictures have names neither
                    self._by_name[key] = image.id if self._by_name.get(key, image.id) == image.id else 0
        path = PurePosixPath(name.replace("\\", "/"))
        tries = (f"{path.stem}.*", f"{path.stem}_*.*") if self.by_stem else ("/".join(path.parts[-2:]), path.name)
        return next((self._by_name[key] for key in map(_short, tries) if key in self._by_name), 0)

    def _images(self) -> Iterator[Image]:
        after = 0
        while True:
            with reading(self.engine) as session:
                page = image_page(session, dataset_id=self.dataset_id, after=after, limit=PAGE)
            if not page:
                return
            yield from page
            after = page[-1].id


def _path(image: Image) -> PurePosixPath:
    return PurePosixPath((image.member if image.origin_row is None else "") or image.location.replace("\\", "/"))


def _stems(path: PurePosixPath) -> Iterator[str]:
    yield f"{path.stem}.*"
    if "_" in path.stem:
        yield f"{path.stem.partition('_')[0]}_*.*"


def _short(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
