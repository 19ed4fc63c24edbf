"""Two processes train what one trains."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from perfmap.engine.processes import Processes, SharedBatchNorm, share_statistics
from perfmap.engine.run_folder import LOG
from perfmap.engine.train import train
from perfmap.engine.train_config import TrainConfig
from perfmap.errors import ConfigError
from perfmap.io.nifti import write_series, write_volume
from perfmap.models.card import InputContract
from perfmap.models.checkpoint import load_checkpoint, read_card
from perfmap.series import Volume
from tests.heads import head_series

TOLERANCE = 1e-3
"""Of a map, as a share of its largest value, and of the losses: sums are taken in another order, step after step."""
SCRIPT = """
import sys
from pathlib import Path
from perfmap.engine.train import train
from perfmap.engine.train_config import TrainConfig
folder, config, resume = sys.argv[1:]
config = TrainConfig.model_validate_json(config)
train(config, Path(folder), device="cpu", threads=1, resume=resume == "resume")
"""


def test_without_torchrun_there_is_one() -> None:
    alone = Processes(0, 1, torch.device("cpu"))
    outputs = torch.ones(3, 2, 2, requires_grad=True)
    assert alone.join(outputs, 3) is outputs
    assert alone.share([1, 2, 3]) == alone.gather([1, 2, 3]) == [1, 2, 3]
    assert alone.sum(np.array([1.5])).tolist() == [1.5]


def test_shares_cover_everything_once() -> None:
    shares = [Processes(rank, 3, torch.device("cpu")).share(list(range(8))) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(8))


def test_shared_statistics_keep_names_and_evaluate_alike() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sequential(nn.BatchNorm2d(3)))
    network(torch.randn(4, 1, 8, 8))
    names, x = set(network.state_dict()), torch.randn(2, 1, 8, 8)
    before = network.eval()(x)
    assert set(share_statistics(network).state_dict()) == names
    assert isinstance(network[1][0], SharedBatchNorm)
    assert torch.equal(network.eval()(x), before)


@pytest.mark.slow
def test_two_processes_find_what_one_finds_and_can_be_resumed(tmp_path: Path) -> None:
    for i in range(6):
        series, nrcbv = head_series(shape=(32, 32, 2), seed=i, arrival=20.0 + i)
        write_series(series, tmp_path / "cohort" / f"p{i}" / "dsc.nii.gz")
        reference = tmp_path / "cohort" / f"p{i}" / "truth_nrcbv.nii.gz"
        write_volume(Volume(nrcbv, series.affine), reference, grid=None)
    config = TrainConfig(
        name="small",
        architecture="convlstm",
        arguments={"widths": [4, 2]},
        inputs=InputContract(matrix=32),
        data=str(tmp_path / "cohort"),
        schedule="constant",
        epochs=2,
        batch=3,
        precision="fp32",
        deterministic=True,
    )
    train(config, tmp_path / "one", device="cpu", threads=1)
    torch.use_deterministic_algorithms(False)
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for epochs, begin in ((1, "begin"), (2, "resume")):
        part = config.model_copy(update={"epochs": epochs}).model_dump_json()
        subprocess.run(
            [*torchrun, str(tmp_path / "script.py"), str(tmp_path / "two"), part, begin],
            check=True,
            cwd=Path(__file__).parents[2],
            timeout=600,
        )
    one, two = (read_log(tmp_path / name / LOG) for name in ("one", "two"))
    assert one.shape == two.shape
    assert np.allclose(one[:, 3:], two[:, 3:], rtol=TOLERANCE)
    assert read_card(tmp_path / "two" / "model").training.processes == 2
    curves, valid = torch.randn(1, 45, 32, 32), torch.ones(1, 45)
    maps = [load_checkpoint(tmp_path / name / "model").network(curves, valid) for name in ("one", "two")]
    assert (maps[0] - maps[1]).abs().max() <= TOLERANCE * maps[0].abs().max()


def read_log(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1)


def test_a_batch_smaller_than_the_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    from perfmap.engine import train as module

    three = Processes(0, 3, torch.device("cpu"))
    monkeypatch.setattr(module, "together", lambda device: nullcontext(three))
    with pytest.raises(ConfigError, match="larger --batch"):
        train(TrainConfig(name="a", architecture="conv3d", batch=2), tmp_path, device="cpu")
