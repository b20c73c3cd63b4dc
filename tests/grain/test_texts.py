import pytest

from grain.texts import MOST_TEXT_CHARACTERS, one_line
from user_errors import UserError


def test_a_text_is_one_line_without_spaces_at_its_ends() -> None:
    assert one_line(" a red\n round\t lid ") == "a red round lid"
    assert one_line("ab " * (MOST_TEXT_CHARACTERS // 3)).endswith("ab"), "spaces at its ends do not count"


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_text_without_words_is_refused_where_some_are_needed(text: str) -> None:
    assert one_line(text, empty=True) == ""
    with pytest.raises(UserError, match="got no words: write what can be seen in the box"):
        one_line(text)


def test_a_text_may_have_500_characters_and_not_one_more() -> None:
    assert one_line("a" * 500) == "a" * 500
    with pytest.raises(UserError) as caught:
        one_line("b" * 501, empty=True)
    assert str(caught.value) == f"expected at most 500 characters in a text, got 501 in “{'b' * 40}…”: shorten it"
