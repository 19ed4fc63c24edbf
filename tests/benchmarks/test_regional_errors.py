"""The table by which a loss was judged."""

import torch

from benchmarks.regional_errors import READ, truth_above_reading


def test_truth_above_reading_is_a_ratio_with_an_error_between_subjects() -> None:
    subjects = torch.arange(4.0).repeat_interleave(50)
    read = torch.full((200,), 1.2)
    windows = torch.stack([read, 1.1 * read, subjects], dim=1)
    column = READ.index(1.0)
    assert truth_above_reading(windows)[column] == "+10 ± 0"
    windows[:, 1] += torch.tensor([-0.12, 0.12, -0.12, 0.12]).repeat_interleave(50)
    # Four subjects that are 10 % off either way: √(4/3 · 4 · (50 · 0.12)²) / (200 · 1.2)
    assert truth_above_reading(windows)[column] == "+10 ± 6"
    assert truth_above_reading(windows)[column + 1] == "–"
