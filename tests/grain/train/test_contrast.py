import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from grain.train import contrast
from grain.train.contrast import towards_classes

SCALE = torch.tensor(math.log(7.0), dtype=torch.float64)


def whole_table(rows: Tensor, classes: Tensor, target: Tensor, logit_scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same with all logits at once, a row at a time for the way back."""
    logits = logit_scale.exp() * rows @ classes.T
    back = []
    for row, of in enumerate(target.tolist()):
        rivals = [other for other in range(len(rows)) if other == row or int(target[other]) != of]
        back.append(logits[rivals, of].logsumexp(0) - logits[row, of])
    return F.cross_entropy(logits, target), torch.stack(back).mean()


def case(rows: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    make = torch.Generator().manual_seed(seed)
    tables = (torch.randn(n, 5, generator=make, dtype=torch.float64) for n in (rows, classes))
    first, second = (F.normalize(table, dim=-1).requires_grad_() for table in tables)
    return first, second, torch.randint(0, classes, (rows,), generator=make), SCALE.clone().requires_grad_()


def test_two_right_pairs_cost_the_log_of_one_plus_a_shrunken_exponential_both_ways() -> None:
    eye = torch.eye(2)
    for loss in towards_classes(eye, eye, torch.arange(2), logit_scale=torch.tensor(math.log(3.0))):
        assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)))


@pytest.mark.parametrize("logits", [1, 7, 40, 10**6], ids="{} logits at a time".format)
@given(rows=st.integers(1, 9), classes=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_parts_give_the_losses_and_gradients_of_the_whole_table(
    logits: int, rows: int, classes: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrast, "MAX_LOGITS", logits)
        ours, theirs = case(rows, classes, seed), case(rows, classes, seed)
        (there, back), (there_whole, back_whole) = towards_classes(*ours[:3], logit_scale=ours[3]), whole_table(*theirs)
        torch.testing.assert_close(there, there_whole)
        torch.testing.assert_close(back, back_whole)
        (there + 0.3 * back).backward()
        (there_whole + 0.3 * back_whole).backward()
    for mine, other in zip(ours, theirs, strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad, other.grad)


def test_rows_of_one_class_alone_have_no_rivals_and_finite_gradients() -> None:
    rows, classes, _, scale = case(3, 2, seed=0)
    there, back = towards_classes(rows, classes, torch.tensor([1, 1, 1]), logit_scale=scale)
    assert back.item() == 0 < there.item()
    (there + back).backward()
    assert all(bool(torch.isfinite(each.grad).all()) for each in (rows, classes, scale) if each.grad is not None)
    assert rows.grad is not None and classes.grad is not None and scale.grad is not None


def test_the_gradient_passes_a_numerical_check() -> None:
    rows, classes, target, scale = case(4, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda r, c, s: towards_classes(r, c, target, logit_scale=s), (rows, classes, scale)
    )


def test_logits_near_the_largest_scale_stay_finite() -> None:
    eye = torch.eye(4)
    there, back = towards_classes(eye, eye, torch.tensor([1, 0, 3, 2]), logit_scale=torch.tensor(math.log(100.0)))
    assert (there.item(), back.item()) == (pytest.approx(100.0), pytest.approx(100.0))


def test_memory_grows_with_rows_and_classes_not_with_their_product() -> None:
    """The largest tensor that the pass and its gradient make."""
    largest = {}
    for rows in (512, 8192):
        table = F.normalize(torch.randn(rows, 8), dim=-1).requires_grad_()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            sum(towards_classes(table, table, torch.arange(rows), logit_scale=torch.tensor(1.0))).backward()  # type: ignore[union-attr]
        found = [event for event in profile.events() if event.name == "[memory]"]
        assert len(found) > 10
        largest[rows] = max(event.cpu_memory_usage for event in profile.events())
    assert largest[8192] <= 4 * contrast.MAX_LOGITS * 4 < 8192 * 8192 * 4 / 3


def test_targets_of_another_number_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a target for each of 2 rows, got 3"):
        towards_classes(torch.eye(2), torch.eye(2), torch.arange(3), logit_scale=SCALE)
