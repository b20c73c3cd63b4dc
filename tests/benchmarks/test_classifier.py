"""Class embeddings in memory that does not grow with the descriptions are those of the class bank."""

import numpy as np
import pytest

from benchmarks import classifier
from benchmarks.classifier import class_embeddings
from grain.config import ClassTexts
from grain.structures import Array
from grain.zero_shot import build_class_bank


def embed(texts: list[str]) -> Array:
    rows = [np.random.default_rng(list(text.encode())).normal(size=4) for text in texts]
    return np.array(rows, np.float32).reshape(-1, 4)


def test_class_embeddings_are_those_of_the_bank_however_many_pass_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classes = {f"class {i}": [f"part {j} of {i}" for j in range(i % 4)] for i in range(9)}
    templates = ClassTexts(names=("a {name}", "the {name}"), descriptions=("a {name} with {description}",))
    expected = build_class_bank(classes, templates, embed).class_embeds
    for most in (1, 5, 4096):
        monkeypatch.setattr(classifier, "MAX_TEXTS", most)
        np.testing.assert_allclose(class_embeddings(classes, templates, embed), expected, atol=1e-6)
    with pytest.raises(ValueError, match="no classes"):
        class_embeddings({}, templates, embed)
