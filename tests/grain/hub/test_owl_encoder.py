"""OWLv2 as a checkpoint gives the detector's own scores, and no region that lies in the padding alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.random_detectors import GRID, tiny_owlv2, tiny_owlvit
from grain.checkpoint import CheckpointInfo
from grain.hub.owl import OwlNetwork
from grain.hub.owl_encoder import USUAL_SCORE, OwlEncoder
from grain.predict import Predictor
from tests.support.tiny import picture

TEXTS = ["a red round lid", "the black cat", "a yellow bottle"]
MAKE = {"owlv2": tiny_owlv2, "owlvit": tiny_owlvit}


def encoder(kind: str) -> OwlEncoder:
    network = OwlNetwork(*MAKE[kind](), name=kind, precision="fp32")
    return OwlEncoder(network, CheckpointInfo(kind, kind, "nothing", None, True, "", 1))


@pytest.mark.parametrize("kind", MAKE)
def test_confidence_is_the_detectors_score_with_its_usual_threshold_at_one_half(kind: str) -> None:
    owl, image = encoder(kind), picture(3, (64, 64))
    [features] = owl.encode_images([image])
    embeds = owl.encode_texts(TEXTS)
    ranked = owl.rank_regions(image, features, descriptions=TEXTS, embeds=embeds)
    [seen] = owl.network.encode_images([image])
    scores = owl.network.scores(seen, owl.network.encode_texts(TEXTS))  # [P, D]
    scores = scores[(seen.boxes_xyxy[:, 2:] > seen.boxes_xyxy[:, :2]).all(axis=1)]
    usual = USUAL_SCORE / (1 - USUAL_SCORE)
    expected = scores / (scores + (1 - scores) * usual)
    assert ranked.confidence is not None and ranked.presence is not None
    assert len(scores) > 5 and ranked.confidence == pytest.approx(expected, abs=1e-5)
    assert ((ranked.confidence >= 0.5) == (scores >= USUAL_SCORE)).all()
    assert ranked.presence == pytest.approx(expected.max(axis=0), abs=1e-5)


def test_regions_have_area_inside_the_picture_and_come_the_same_alone_and_together() -> None:
    owl, wide = encoder("owlv2"), picture(1, (90, 30))
    alone, (together, _) = owl.encode_images([wide])[0], owl.encode_images([wide, picture(2, (40, 40))])
    assert 0 < len(alone.boxes_xyxy) < GRID**2, "those below the picture are left out"
    assert (alone.boxes_xyxy[:, 2:] > alone.boxes_xyxy[:, :2]).all()
    assert alone.hints is not None and together.hints is not None
    assert np.allclose(alone.hints, together.hints) and np.allclose(alone.region_embeds, together.region_embeds)


def test_nothing_asked_proposals_and_all_instances() -> None:
    predictor, image = Predictor(encoder("owlv2")), picture(5, (80, 60))
    assert predictor.predict(image, [], {}).regions == () and predictor.embed_texts([]).shape == (0, 24)
    with pytest.raises(ValueError, match="proposes its own regions"):
        predictor.features(image, [[0, 0, 1, 1]])
    best, every = (predictor.ground(image, TEXTS[:1], min_confidence=0.0, instances=i) for i in ("best", "all"))
    assert len(best) == 1 < len(every) and every[0] == best[0]
    scores = [region.confidence or 0.0 for region in every]
    assert scores == sorted(scores, reverse=True)
