"""Find a data set's picture for a record, by its content's hash, its path, its file name, or the stem of that."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from unicodedata import normalize

from curation.files.file_spelling import fold_name
from curation.files.images import PictureReader
from curation.files.records import PictureRecord
from curation.versions.state import name_of
from db.engine import Engine, reading
from db.models import Image
from db.queries.data_set_queries import find_images, image_page, pictures_by_id

PAGE = 5_000
INDEXED = 3  # last parts of a path
MOST_NAMESAKES = 64  # pictures of one name, among which a path decides
SPLIT = re.compile(r"(train|test|val|dev)(?:ing|id|idation)?(?:[-_]?\d+)?", re.IGNORECASE)


@dataclass
class PictureFinder:
    """Finds a data set's picture for a record; names are indexed only when a record without hash comes.

    Of the pictures of one name it is the one whose folders agree the furthest. A name alone counts where the record
    names no folder, or where nothing speaks against it: another shape, another split.

    Of those that one file held in turn it is the one that the file still holds.

    Where none is spelled so, letter case is ignored, as it is where the pictures come from.

    by_stem: `7.jpg` of a record is any `7.*`; where there is none, any `7_*.*`, as Flickr8k names Flickr30k's pictures.
    ambiguous: how many of the records that were not found could be several pictures.
    """

    engine: Engine
    dataset_id: int
    by_stem: bool = False
    ambiguous: int = 0
    _by_name: dict[bool, dict[bytes, tuple[int, ...]]] = field(default_factory=dict)  # whether case is ignored

    def find(self, records: Sequence[PictureRecord]) -> tuple[list[tuple[int, PictureRecord]], list[str]]:
        """Return the records whose picture is there, with its id; and the file names of those that are not."""
        with reading(self.engine) as session:
            hashes = {sha256 for record in records for sha256 in _hashes(record) if sha256}
            by_hash = find_images(session, dataset_id=self.dataset_id, sha256s=hashes)
        fitting = [[by_hash[sha256] for sha256 in _hashes(record) if sha256 in by_hash][:1] for record in records]
        for fold in (False, True):
            left = [at for at, record in enumerate(records) if not record.sha256 and len(fitting[at]) != 1]
            namesakes = {at: self._namesakes(records[at].file_name, fold=fold) for at in left}
            with reading(self.engine) as session:
                images = pictures_by_id(session, ids=[*{number for some in namesakes.values() for number in some}])
            by_id = {image.id: image for image in images}
            with PictureReader(processes=1) as reader:
                for at, numbers in namesakes.items():
                    named = _still_there([by_id[number] for number in numbers if number in by_id], reader)
                    fitting[at] = self._fitting(records[at], named, fold=fold)
        self.ambiguous += sum(len(some) > 1 for some in fitting)
        found = [(some[0].id, record) for some, record in zip(fitting, records, strict=True) if len(some) == 1]
        return found, [record.file_name for some, record in zip(fitting, records, strict=True) if len(some) != 1]

    def _fitting(self, record: PictureRecord, named: list[Image], *, fold: bool) -> list[Image]:
        """Return which of the pictures of its name a record can mean: it does mean one where it is the only one."""
        if self.by_stem or len(named) > MOST_NAMESAKES:
            return named
        path = _parts(record.file_name, fold=fold)
        agreeing = [_agreement(path, image, fold=fold) for image in named]
        best = max(agreeing, default=0)
        fitting = [image for image, one in zip(named, agreeing, strict=True) if one == best]
        if len(fitting) != 1 or best > 1 or len(path.parts) == 1:
            return fitting
        likely = len(named) == 1 and _same_shape(record, fitting[0]) and _no_other_split(path, fitting[0])
        return fitting if likely else []

    def _namesakes(self, name: str, *, fold: bool) -> tuple[int, ...]:
        """Return the ids of the pictures that share the most of a path; one too many where they are."""
        if fold not in self._by_name:
            by_name = self._by_name[fold] = {}
            for image in self._images():
                path = _path(image, fold=fold)
                for known in {*(_stems(path) if self.by_stem else [*_tails(path), _export_stem(image, fold=fold)])}:
                    there = by_name.get(_short(known), ())
                    if len(there) <= MOST_NAMESAKES:
                        by_name[_short(known)] = (*there, image.id)
        path = _parts(name, fold=fold)
        tries = (f"{path.stem}.*", f"{path.stem}_*.*") if self.by_stem else [*_tails(path), _stem(path.name)]
        return next((self._by_name[fold][key] for key in map(_short, tries) if key in self._by_name[fold]), ())

    def _images(self) -> Iterator[Image]:
        after = 0
        while True:
            with reading(self.engine) as session:
                page = image_page(session, dataset_id=self.dataset_id, after=after, limit=PAGE)
            if not page:
                return
            yield from page
            after = page[-1].id


def _still_there(images: list[Image], reader: PictureReader) -> list[Image]:
    """Leave out pictures whose file has become another of them; all stay where none is as it was."""
    places = Counter((image.location, image.member) for image in images)
    there = [image for image in images if places[image.location, image.member] == 1 or reader.finds(image)]
    return there or images


def _hashes(record: PictureRecord) -> tuple[str, str]:
    """Return what tells a picture's content: its own hash first, then that of the file that an export made of it."""
    return record.sha256, record.written_sha256


def _parts(name: str, *, fold: bool = False) -> PurePosixPath:
    """Return a path in one spelling: other systems write a backslash for a slash, an accent joined or apart."""
    plain = name.replace("\\", "/")
    return PurePosixPath(fold_name(plain) if fold else normalize("NFC", plain))


def _path(image: Image, *, fold: bool = False) -> PurePosixPath:
    return _parts((image.member if image.origin_row is None else "") or image.location, fold=fold)


def _export_stem(image: Image, *, fold: bool) -> str:
    name = _stem(name_of(image))
    return fold_name(name) if fold else name


def _tails(path: PurePosixPath) -> Iterator[str]:
    """Yield the last parts of a path, the longest first."""
    for many in range(min(INDEXED, len(path.parts)), 0, -1):
        yield "/".join(path.parts[-many:])


def _agreement(path: PurePosixPath, image: Image, *, fold: bool) -> int:
    """Return how many last parts a path shares with a picture's; more than any where it is the name of an export."""
    if _stem(path.name) == _export_stem(image, fold=fold):
        return len(path.parts) + 1
    pairs = zip(reversed(path.parts), reversed(_path(image, fold=fold).parts), strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), len(path.parts))


def _stem(name: str) -> str:
    """Return an exported picture's name without its ending, which is another where it was encoded again."""
    return name.partition(".")[0]


def _same_shape(record: PictureRecord, image: Image) -> bool:
    """Return whether a record's size can be the picture's, enlarged, reduced, or not yet upright."""
    sizes = (image.width, image.height), (image.height, image.width)
    rounding = max(record.width, record.height, image.width, image.height)
    return any(abs(record.width * high - record.height * wide) <= rounding for wide, high in sizes)


def _no_other_split(path: PurePosixPath, image: Image) -> bool:
    one, other = (_split(each) for each in (path, _path(image)))
    return not one or not other or one == other


def _split(path: PurePosixPath) -> str:
    """Return the split that a path's folders name; "" for none."""
    named = [found[1].lower() for part in path.parts[:-1] if (found := SPLIT.fullmatch(part))]
    return named[-1] if named else ""


def _stems(path: PurePosixPath) -> Iterator[str]:
    yield f"{path.stem}.*"
    if "_" in path.stem:
        yield f"{path.stem.partition('_')[0]}_*.*"


def _short(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
