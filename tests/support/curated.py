"""A small data set with everything that curators leave behind, for tests of exports and versions."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from db.engine import Engine, Session, reading, transaction
from db.models import RegionRow, Status
from db.queries.curate_queries import add_region_by_hand, edit_image, set_status
from db.queries.data_set_queries import NewImage, add_images, create_dataset, image_page
from db.queries.edit_values import ImageChange
from db.queries.region_queries import NewRegion, add_regions, regions_of
from tests.support.source_files import encoded

BOX = (0.1, 0.2, 1 / 3, 1.0)
TURNED = Image.Exif()
TURNED[274] = 6


def picture_files(folder: Path, count: int = 6) -> dict[str, bytes]:
    """Name -> content: plain JPEGs, one PNG, one JPEG that EXIF turns."""
    colours = [(n % 8 * 32, n // 8 % 8 * 32, n // 64 * 8) for n in range(count)]
    files = {f"деталь {n}.jpg": encoded(Image.new("RGB", (40, 30), c), "JPEG") for n, c in enumerate(colours)}
    files["plain.png"] = encoded(Image.new("RGBA", (20, 10), (0, 200, 0, 120)))
    files["turned.jpg"] = encoded(Image.new("RGB", (40, 30), (200, 0, 0)), "JPEG", exif=TURNED)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


def curated(engine: Engine, folder: Path, count: int = 6, *, name: str = "lids", described: bool = True) -> int:
    """A data set's id. Its pictures have an accepted region of two descriptions and a rejected one each.

    But the first is reviewed and empty, and at the second nobody has looked. described: False for bare pictures.
    """
    files = picture_files(folder, count)
    sizes = {"turned.jpg": (30, 40), "plain.png": (20, 10)}
    images = [
        NewImage(sha256_of(content), *sizes.get(file, (40, 30)), str(folder / file), caption=f"caption of\n{file}")
        for file, content in files.items()
    ]
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name=name).id
        add_images(session, dataset_id=dataset_id, images=images)
        if described:
            describe(session, dataset_id, ids_of(session, dataset_id))
    return dataset_id


def sha256_of(content: bytes) -> str:
    """As it stands in the database."""
    return hashlib.sha256(content).hexdigest()


def ids_of(session: Session, dataset_id: int) -> list[int]:
    """Of a small data set's pictures."""
    return [image.id for image in image_page(session, dataset_id=dataset_id, limit=10_000)]


def describe(session: Session, dataset_id: int, ids: list[int]) -> None:
    """See curated."""
    model = "owlv2@1"
    new = []
    for number in ids[1:]:
        status: Status = "pending" if number == ids[1] else "accepted"
        new += [
            NewRegion(number, BOX, f"a lid {number}", model, 0.5, status),
            NewRegion(number, (0, 0, 0.5, 0.25), "=cmd()", model, 0.25, "pending"),
        ]
    add_regions(session, dataset_id=dataset_id, rows=new)
    found = regions_of(session, image_ids=ids)
    reviewed = ImageChange(review="reviewed", facts={"class": "lid"})
    for number in ids[2:]:
        first, second = found[number]
        set_status(session, region_id=second.id, expected_version=1, who="ana", status="rejected")
        add_region_by_hand(session, image_id=number, who="bo", box_id=first.id, text="крышка", status="accepted")
        edit_image(session, image_id=number, expected_version=1, who="ana", change=reviewed)
    edit_image(session, image_id=ids[0], expected_version=1, who="ana", change=ImageChange(review="empty"))


def all_regions(engine: Engine, dataset_id: int) -> list[RegionRow]:
    """Those that nobody deleted, by picture."""
    with reading(engine) as session:
        ids = ids_of(session, dataset_id)
        found = regions_of(session, image_ids=ids)
    return [row for number in ids for row in found[number]]
