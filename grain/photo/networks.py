"""Run the detector and the classifier of a `photo-names` checkpoint on a picture, each once. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from grain.photo.detector import Detector
from grain.photo.text_encoder import open_session
from grain.photo.tokens import classifier_pixels, join_maps
from grain.structures import Array


@dataclass(frozen=True)
class PhotoView:
    """The networks' outputs for one picture.

    boxes_xyxy: [Q, 4] normalized proposals, best first. scores: [Q, 80] under COCO's names. features [1280, h, w], fine
    [120, 2 h, 2 w] and neck [128, any, any] are feature maps of the whole picture.
    """

    boxes_xyxy: Array
    scores: Array
    features: Array
    fine: Array
    neck: Array

    def tokens(self) -> Array:
        """Return the maps as tokens, [h, w, 2272]; h and w are at most 12."""
        return join_maps(self.features, self.fine, self.neck)


class PhotoNetworks:
    """The two networks that look at a picture."""

    def __init__(self, folder: Path) -> None:
        """Open the graphs `detector`, `nms` and `image`.

        Raises: CheckpointError: one of them is missing.
        """
        self.detector, self._image = Detector(folder), open_session(folder / "image.onnx")

    def __call__(self, image: Image.Image) -> PhotoView:
        """Look at an upright RGB picture."""
        features, fine = self._image.run(["features", "fine"], {"pixels": classifier_pixels(image)})
        boxes, scores, neck = self.detector(image)
        return PhotoView(boxes, scores, features[0], fine[0], neck)
