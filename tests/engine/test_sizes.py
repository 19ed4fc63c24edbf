"""Sizes of networks."""

import pytest

from perfmap.engine.sizes import size_of
from perfmap.models.checkpoint import read_card, shipped_models


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_sizes_agree_with_the_cards_that_training_wrote(name: str) -> None:
    card = read_card(shipped_models()[name])
    size = size_of(card.architecture)
    assert size.parameters == card.parameters
    assert size.multiply_adds == card.multiply_adds
