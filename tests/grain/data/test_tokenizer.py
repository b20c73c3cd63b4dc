import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grain.data.tokenizer import FULL_VOCABULARY, NOT_MERGES, Tokenizer, text_id

TEXTS = ["a red round lid", "Übermäßig LONG words, punctuation!", "", "a   b\tc"]


def test_the_whole_vocabulary_gives_open_clips_own_tokens_trimmed() -> None:
    ours, theirs = Tokenizer()(TEXTS), open_clip.SimpleTokenizer()(TEXTS, context_length=77)
    length = ours.shape[1]
    assert ours.tolist() == theirs[:, :length].tolist()
    assert not theirs[:, length:].any() and ours[:, -1].any(), "trimmed to the longest text and no further"


def test_the_smallest_vocabulary_spells_a_text_letter_by_letter() -> None:
    tokens = Tokenizer(vocab_size=NOT_MERGES + 1, context_length=20)(["bad"])
    start, end = NOT_MERGES - 1, NOT_MERGES
    b, a, d_at_the_end = ord("b") - ord("!"), ord("a") - ord("!"), 256 + ord("d") - ord("!")
    assert tokens.tolist() == [[start, b, a, d_at_the_end, end]]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.sampled_from([515, 600, 3000]), st.integers(3, 30))
def test_any_text_fits_the_vocabulary_and_the_context_and_ends_with_the_largest_id(
    texts: list[str], vocab_size: int, context_length: int
) -> None:
    tokens, largest = Tokenizer(vocab_size=vocab_size, context_length=context_length)(texts), vocab_size - 1
    assert tokens.shape[0] == len(texts) and 2 <= tokens.shape[1] <= context_length
    assert int(tokens.max()) == largest and int(tokens.min()) >= 0
    assert bool((tokens == largest).any(dim=1).all()), "every text has its end, even where it was cut"


def test_texts_that_were_forgotten_have_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grain.data.tokenizer.MAX_REMEMBERED", 2)
    tokenizer, texts = Tokenizer(), [*TEXTS, *TEXTS]
    assert tokenizer(texts).tolist() == Tokenizer()(TEXTS).tolist() * 2
    assert len(tokenizer._known) <= 2


def test_no_texts_give_no_rows() -> None:
    assert Tokenizer(vocab_size=600)([]).shape == (0, 1)


@pytest.mark.parametrize("size", [0, NOT_MERGES, FULL_VOCABULARY + 1])
def test_a_vocabulary_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"vocab_size must lie in 515..49408, got {size}"):
        Tokenizer(vocab_size=size)


def test_equal_texts_have_equal_ids_on_every_machine() -> None:
    assert text_id("a red lid") == 4366111627136422906
    assert len({text_id(f"text {i}") for i in range(10_000)}) == 10_000
    assert all(0 <= text_id(text) < 2**63 for text in TEXTS)
