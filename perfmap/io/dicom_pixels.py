"""Pixels of single frames, rescaled, as the headers say; for checks, and where a converter does not suffice."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_dataset
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from perfmap.errors import InputError
from perfmap.io.dicom_files import ExportFile
from perfmap.io.dicom_frames import Frame
from perfmap.io.dicom_header import unpack_deflated


class Undecodable(InputError):
    """The pixels are compressed in a way that nothing installed can unpack."""


def read_pixels(frames: Sequence[Frame]) -> Iterator[NDArray[np.float32]]:
    """Values of some frames, in their order; each of shape (rows, columns), a mosaic whole.

    Stored values times slope plus intercept of the frame; Philips' scale slope is divided out, so that frames of
    different scaling compare.

    Raises
    ------
    Undecodable
        If the compression is not known.
    InputError
        If a file cannot be read.
    """
    start = 0
    while start < len(frames):
        stop = start + 1
        while stop < len(frames) and frames[stop].file == frames[start].file:
            stop += 1
        together = frames[start:stop]
        for frame, stored in zip(together, _stored(together), strict=True):
            if stored.ndim != 2:
                raise InputError("an image of the series is not one picture in grey; export it again")
            values = stored.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)
            if frame.scale_slope:
                values /= np.float32(frame.slope * frame.scale_slope)
            yield values
        start = stop


def tiles_of(mosaic: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Slices of a mosaic. Shape (n_tiles, rows, columns)."""
    side = int(np.ceil(np.sqrt(frame.n_tiles)))
    rows, columns = mosaic.shape[0] // side, mosaic.shape[1] // side
    grid = mosaic[: rows * side, : columns * side].reshape(side, rows, side, columns)
    return np.ascontiguousarray(
        grid.transpose(0, 2, 1, 3).reshape(side * side, rows, columns)[: frame.n_tiles]
    )


def _stored(frames: Sequence[Frame]) -> Iterator[NDArray[np.generic]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = _unpacked(frames[0].file)
        try:
            if frames[0].frame is None:
                yield pixel_array(source)
                return
            indices = [frame.frame - 1 for frame in frames if frame.frame is not None]
            yield from iter_pixels(source, indices=indices)
        except (NotImplementedError, RuntimeError) as error:
            raise Undecodable(
                "the images are compressed in a way that cannot be unpacked here; decompress them first "
                "(dcmdjpeg, gdcmconv --raw)"
            ) from error
        except Exception as error:  # pydicom raises nearly anything on damaged pixels
            raise InputError("an image of the series is damaged; export it again") from error


def _unpacked(file: ExportFile) -> io.BytesIO | pydicom.Dataset:
    """A file in memory; a deflated one as the dataset that it holds."""
    try:
        with file.open() as stream:
            start = stream.read(1024)
            stream.seek(0)
            if DeflatedExplicitVRLittleEndian.encode() not in start:
                return io.BytesIO(stream.read())
            source = read_dataset(io.BytesIO(unpack_deflated(stream, file.size)), False, True)
    except InputError:
        raise
    except Exception as error:  # a damaged archive or stream
        raise InputError("an image of the series is damaged; export or copy it again") from error
    source.file_meta = pydicom.dataset.FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return source
