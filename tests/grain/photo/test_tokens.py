"""Tokens: the feature maps of two networks, cell by cell."""

import numpy as np
from PIL import Image

from grain.checkpoint import EMBEDDED
from grain.photo.networks import PhotoNetworks
from grain.photo.tokens import MOST_TOKENS, TOKEN_PARTS, fold_cells, join_maps, resample


def test_four_cells_become_one_in_the_order_of_reading() -> None:
    cells = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert fold_cells(cells)[:, 0, 1].tolist() == [2, 3, 6, 7]


def test_resampling_is_linear_between_the_middles_of_cells() -> None:
    ramp = np.array([[[0.0, 1.0]]], np.float32)
    assert resample(ramp, 1, 4)[0, 0].tolist() == [0, 0.25, 0.75, 1]
    np.testing.assert_array_equal(resample(ramp, 1, 2), ramp)


def test_a_token_holds_its_own_cells() -> None:
    features = np.random.default_rng(0).normal(size=(1280, 2, 3)).astype(np.float32)
    fine = np.zeros((120, 4, 6), np.float32)
    fine[7, 2, 5] = 1  # the upper right of the four cells in row 1, column 2
    tokens = join_maps(features, fine, np.ones((128, 5, 5), np.float32))
    assert tokens.shape == (2, 3, sum(TOKEN_PARTS))
    np.testing.assert_array_equal(tokens[1, 2, :1280], features[:, 1, 2])
    assert np.argwhere(tokens[:, :, 1280:1760]).tolist() == [[1, 2, 7 * 4 + 1]]
    assert (tokens[:, :, 1760:] == 1).all()


def test_the_embedded_networks_see_a_picture_in_its_own_shape() -> None:
    look = PhotoNetworks(EMBEDDED / "photo-names")
    picture = np.zeros((300, 600, 3), np.uint8)
    picture[:, 300:] = (200, 30, 30)
    tokens = look(Image.fromarray(picture)).tokens()
    assert tokens.shape == (6, 12, 2272)
    assert tokens.shape[0] * tokens.shape[1] <= MOST_TOKENS
    assert np.isfinite(tokens).all()
    for part in np.split(tokens, np.cumsum(TOKEN_PARTS)[:-1], axis=-1):
        assert np.abs(part[:, :5].mean((0, 1)) - part[:, 7:].mean((0, 1))).max() > 0.1, "left and right differ"
