"""What sources are made of, and what an audit says of those that do not count."""

from __future__ import annotations

import pytest

from curation.audit.independence import NOBODY, Independence, is_independent, made_of


@pytest.mark.parametrize(
    ("source", "describer", "independent"),
    [
        ("photo-localizer@3", "photo-describer@2", False),
        ("photo@0123456789ab", "photo-describer@1", False),
        ("sample@0123456789ab", "photo-describer@2", True),
        ("llava-hf/llava-1.5-7b-hf@main", "llava-1.5-7b-hf@served", False),
        ("/models/llava-1.5-7b-hf/@local", "llava-hf/llava-1.5-7b-hf@main", False),
        ("google/owlv2-base-patch16-ensemble@cfd3", "llava-hf/llava-1.5-7b-hf@main", True),
        ("photo-localizer@3", "human:ada", True),
    ],
)
def test_a_model_does_not_judge_its_own_sentences(source: str, describer: str, independent: bool) -> None:
    assert is_independent(source, describer) is independent
    assert is_independent(describer, source) is independent


def test_every_name_is_made_of_something() -> None:
    assert made_of("photo-names@1") == made_of("photo-localizer@9") != made_of("sample@1")
    assert made_of("") == ""


def test_what_does_not_count_is_said_with_what_to_do() -> None:
    [nothing] = Independence("photo-describer@2", NOBODY, ("photo-localizer@3",)).sentences()
    assert "photo-describer@2" in nothing and "nothing is judged" in nothing and "judge a sample" in nothing
    [left_out] = Independence("photo-describer@2", "sample@1", ("photo-localizer@3",)).sentences()
    assert left_out.startswith("photo-localizer@3 does not count")
    [unfitted] = Independence("llava@1", "owlv2@2", decides=False).sentences()
    assert "decide none" in unfitted
    assert Independence("llava@1", "photo@2").sentences() == ()
    half = Independence("llava@1", "owlv2@2 + photo@3", unheard=("owlv2@2",))
    [unheard] = half.sentences()
    assert unheard.startswith("owlv2@2 is shown and does not count") and half.can_decide
    assert not Independence("llava@1", "owlv2@2", unheard=("owlv2@2",)).can_decide


def test_a_run_carries_it_and_older_runs_do_not() -> None:
    noted = Independence("photo-describer@2", NOBODY, ("photo@1", "photo-localizer@3"), ("x@1",), decides=False)
    assert Independence.of_run(noted.run_settings()) == noted
    assert Independence.of_run({}) is None
