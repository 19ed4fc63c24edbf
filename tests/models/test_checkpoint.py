"""Checkpoints: weights and card together or not at all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from perfmap.errors import ModelError
from perfmap.models import build_network
from perfmap.models.card import InputContract, LossCurve, ModelCard, OutputContract, Uncertainty
from perfmap.models.checkpoint import (
    find_checkpoint,
    load_checkpoint,
    read_card,
    save_checkpoint,
    shipped_models,
)

ARGUMENTS = {"n_times": 45, "widths": [4, 8, 8, 16, 16]}


def card_fields() -> dict[str, Any]:
    return {
        "name": "small",
        "architecture": "unet-gru",
        "arguments": ARGUMENTS,
        "inputs": InputContract(),
        "scale_invariant": True,
        "parameters": 1,
        "multiply_adds": 1,
        "training": {
            "data": "none",
            "seed": 0,
            "n_train_slices": 0,
            "n_validation_slices": 0,
            "epochs": 0,
            "best_epoch": 0,
            "steps": 0,
            "seconds": 0.0,
            "slices_per_second": 0.0,
            "ended_by": "epochs",
            "config": {},
            "perfmap_version": "0",
        },
        "scores": {},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network("unet-gru", **ARGUMENTS)
    save_checkpoint(tmp_path / "small", network.state_dict(), card_fields(), half=False)
    return tmp_path / "small"


def test_weights_come_back_as_they_were(folder: Path) -> None:
    torch.manual_seed(0)
    before = build_network("unet-gru", **ARGUMENTS).eval()
    after = load_checkpoint(folder).network
    curves, valid = torch.randn(1, 45, 64, 64), torch.ones(1, 45)
    with torch.no_grad():
        assert torch.allclose(before(curves, valid), after(curves, valid), atol=1e-6)
    assert all(torch.equal(after.state_dict()[name], tensor) for name, tensor in before.state_dict().items())


def test_half_precision_changes_a_map_by_less_than_a_thousandth(tmp_path: Path, folder: Path) -> None:
    whole = load_checkpoint(folder)
    save_checkpoint(tmp_path / "half", whole.network.state_dict(), card_fields(), half=True)
    half = load_checkpoint(tmp_path / "half")
    assert (tmp_path / "half/model.safetensors").stat().st_size < 0.6 * (
        folder / "model.safetensors"
    ).stat().st_size
    curves, valid = torch.randn(1, 45, 64, 64), torch.ones(1, 45)
    one, two = whole.network(curves, valid).numpy(), half.network(curves, valid).numpy()
    assert np.abs(one - two).max() < 2e-3 * max(one.max(), 1.0)


def test_equal_weights_give_equal_files(tmp_path: Path, folder: Path) -> None:
    network = load_checkpoint(folder).network
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, network.state_dict(), card_fields())
    for file in ("model.safetensors", "card.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_changed_weights_are_noticed(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(ModelError, match="the card says"):
        load_checkpoint(folder)


def test_card_with_another_field_is_refused(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "accuracy": 1.0}))
    with pytest.raises(ModelError, match="'accuracy'"):
        read_card(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match="not valid"):
        read_card(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    other = build_network("unet-gru", n_times=45, widths=[4, 8, 8, 16, 24])
    save_checkpoint(folder, other.state_dict(), card_fields())
    with pytest.raises(ModelError, match="do not fit"):
        load_checkpoint(folder)


def test_missing_weights_and_unknown_names(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(folder)
    with pytest.raises(ModelError, match="neither shipped"):
        find_checkpoint("no-such-model")
    assert find_checkpoint(str(folder)) == folder


def test_a_card_cannot_contradict_itself() -> None:
    with pytest.raises(ValidationError, match="contradicts"):
        ModelCard(**{**card_fields(), "scale_invariant": False}, sha256="0" * 64)


def test_a_card_keeps_the_curve_and_what_an_sd_means(tmp_path: Path, folder: Path) -> None:
    fields = card_fields()
    fields["outputs"] = OutputContract(uncertainty=Uncertainty(sd_factor=1.2, correlation_length_mm=3.0))
    fields["training"] |= {"curve": LossCurve(training=(2.0, 1.0), validation=(2.5, 1.5)), "processes": 2}
    written = save_checkpoint(tmp_path / "sd", load_checkpoint(folder).network.state_dict(), fields)
    assert read_card(tmp_path / "sd") == written
    for wrong in ({"sd_factor": 0.0}, {"correlation_length_mm": -1.0}, {"distribution": "cauchy"}):
        with pytest.raises(ValidationError):
            Uncertainty(**{"correlation_length_mm": 3.0, **wrong})


def test_cards_from_before_these_fields_are_read(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    for name in ("uncertainty", "scale"):
        del card["outputs"][name]
    for name in ("curve", "processes"):
        del card["training"][name]
    (folder / "card.json").write_text(json.dumps(card))
    assert read_card(folder).outputs.uncertainty is None
    assert all(read_card(shipped).outputs.scale > 0 for shipped in shipped_models().values())
