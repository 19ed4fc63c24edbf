"""What a study of 20 slices and 60 volumes costs: scan and choice, conversion, prediction, writing.

    python benchmarks/dicom_in.py
    python benchmarks/dicom_in.py --threads 1

1,200 classic files of 128 x 128 pixels are written first. Wall and processor time, of child processes too: the first
depends on what else the machine does. Writing is NIfTI, then each form of DICOM with the network's map and the
conventional one; finding white matter for the latter is counted with the first form.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from perfmap.engine.export import find_cases, stage, the_case
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import predict_file
from perfmap.io.dicom_out import chosen_forms
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint
from perfmap.report.dicom import write_prediction_dicom
from tests.dicom_factory import Scan, oblique_affine, write_classic
from tests.heads import head_series

SHAPE = (128, 128, 20)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print what a block took."""
    wall, before = time.perf_counter(), os.times()
    yield
    after = os.times()
    processor = sum(after[:4]) - sum(before[:4])
    print(f"{what}: wall {time.perf_counter() - wall:.1f} s, processor {processor:.1f} s", flush=True)


def main() -> None:
    """Write the study, bring it in, predict, write the maps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    threads = parser.parse_args().threads
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        signal = head_series(shape=SHAPE, n_times=60)[0].signal
        write_classic(Scan(signal, oblique_affine(SHAPE, spacing=(1.8, 1.8, 5.0))), folder / "in")
        with timed("scan and choice"):
            case = the_case(find_cases(folder / "in"))
        with timed("conversion and check"):
            staged = stage(case, folder / "out")
        with timed(f"loading {DEFAULT_MODEL}"):
            checkpoint = load_checkpoint(find_checkpoint(DEFAULT_MODEL))
        with timed(f"reading, prediction ({threads} threads), quality gate, writing NIfTI"):
            done = predict_file(
                staged.nifti,
                folder / "nrcbv.nii.gz",
                checkpoint,
                PredictConfig(),
                source=staged.source,
                threads=threads,
            )
        print(f"    of which by the manifest: {done.manifest['seconds']}")
        for form in chosen_forms(None):
            with timed(f"writing DICOM, form {form}, two maps"):
                write_prediction_dicom(done, folder / "dicom", (form,))


if __name__ == "__main__":
    main()
