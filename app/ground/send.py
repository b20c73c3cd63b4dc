"""Send grounded pictures to Curate: into a data set, their regions pending for people to judge."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.access.accounts import Person
from app.jobs.imports import queue_upload
from app.services import Services
from curation.ingest.uploads import named
from grain.detections import PicturePrediction, to_coco
from grain.structures import Prediction
from user_errors import UserError


def send_to_curate(
    services: Services, found: Sequence[tuple[Path, Prediction]], *, checkpoint: str, dataset: str, person: Person
) -> int:
    """Queue the import of pictures with what was found in them; return the id of the last job.

    Args:   found: files of pictures, each with its result. dataset: a new name, or one that there is.
    Raises: UserError: nothing was found yet, there is no name, or a picture is gone.
    """
    if not found:
        raise UserError("There is no result yet: look for something first.")
    if any(not file.is_file() for file, _ in found):
        raise UserError("A picture is no longer there: run it again.")
    names = named([file for file, _ in found])
    results = [PicturePrediction(name, result) for name, (_, result) in zip(names, found, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        detections = Path(folder) / f"found-by-{checkpoint}.json"  # the regions' source names it
        coco = to_coco(results)
        for image, (file, _) in zip(coco["images"], found, strict=True):
            image["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()  # names may repeat
        detections.write_text(json.dumps(coco))
        files = names | {detections.name: detections}
        return queue_upload(services.jobs, services.settings.home, files=files, name=dataset, owner=person.name)
