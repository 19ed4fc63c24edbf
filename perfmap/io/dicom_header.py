"""Reading a DICOM header and nothing else, from anything, without trusting it.

Files without preamble and without suffix are read, deflated ones are unpacked to a limit only, and whether the pixels
are all there is seen from the length of the file, not by reading them.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import IO, BinaryIO, cast

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from perfmap.errors import InputError
from perfmap.io.dicom_files import UNREADABLE
from perfmap.io.dicom_values import integer

MAX_DEFLATED = 1 << 30
MAX_RATIO = 200
SMALL = 16 << 20
_TAIL = 1 << 16
_END_OF_FRAMES = b"\xfe\xff\xdd\xe0"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_NAMES = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID
FrameOfReferenceUID Modality Manufacturer ManufacturerModelName SoftwareVersions SeriesNumber
SeriesDescription ProtocolName BodyPartExamined PatientName PatientID PatientBirthDate PatientAge AccessionNumber
ContrastBolusAgent AcquisitionTime AcquisitionDateTime ContentTime SeriesTime TriggerTime
TemporalPositionIdentifier NumberOfTemporalPositions TemporalResolution TemporalPositionTimeOffset
AcquisitionNumber InstanceNumber ImagesInAcquisition AcquisitionDuration ScanningSequence SequenceVariant
SequenceName EchoPulseSequence EchoPlanarPulseSequence MRAcquisitionType RepetitionTime EchoTime EchoNumbers
FlipAngle MagneticFieldStrength DiffusionBValue ComplexImageComponent Rows Columns NumberOfFrames SamplesPerPixel
BitsAllocated PixelSpacing ImagePositionPatient ImageOrientationPatient SliceThickness SpacingBetweenSlices
AcquisitionMatrix InPlanePhaseEncodingDirection PercentPhaseFieldOfView PercentSampling
RescaleSlope RescaleIntercept LossyImageCompression PixelPaddingValue PatientIdentityRemoved
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
"""
WANTED = _NAMES.split()
SIEMENS_TILES, SIEMENS_B_VALUE, SIEMENS_CSA, PHILIPS_SCALE = 0x0019100A, 0x0019100C, 0x00291010, 0x2005100E
PRIVATE = [SIEMENS_TILES, SIEMENS_B_VALUE, SIEMENS_CSA, PHILIPS_SCALE]
TAGS: list[BaseTag | int] = [*map(Tag, WANTED), *map(Tag, PRIVATE)]
DICOMDIR = "1.2.840.10008.1.3.10"


class NotDicom(Exception):
    """The file is not DICOM; the message is the reason in a few words."""


def read_header(stream: IO[bytes], size: int) -> tuple[Dataset, str, bool]:
    """Read the wanted attributes of a DICOM file.

    Parameters
    ----------
    stream : binary stream
        At its start; must be able to seek.
    size : int
        Length of the file in bytes.

    Returns
    -------
    header : Dataset
    syntax : str
        Transfer syntax UID.
    whole : bool
        False where the file ends before its last pixel.

    Raises
    ------
    NotDicom
        If it is no DICOM file, or a damaged one.
    InputError
        If a deflated file unpacks to far more than its size.
    """
    try:
        start = stream.read(1024)
        stream.seek(0)
    except UNREADABLE as error:
        raise NotDicom("damaged file") from error
    if start[128:132] != b"DICM" and not _looks_like_a_dataset(start[:132]):
        raise NotDicom("not DICOM")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are judged where they are used
            return _read(stream, size, start)
    except (InputError, NotDicom):
        raise
    except Exception as error:  # pydicom raises nearly anything on damaged files
        raise NotDicom("damaged DICOM") from error


def unpack_deflated(stream: IO[bytes], size: int) -> bytes:
    """The data set of a deflated file, unpacked; the stream stands at the start of the file.

    Raises
    ------
    InputError
        If it unpacks to more than 1 GiB, or to more than 200 times its size.
    """
    limit = min(MAX_DEFLATED, max(MAX_RATIO * size, SMALL))
    start = stream.read(144)
    stream.seek(144 + int.from_bytes(start[140:144], "little"))  # behind the group length of the file meta
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    content = unpacker.decompress(stream.read(), limit + 1)
    if len(content) > limit:
        raise InputError(
            f"a deflated DICOM file of {size:,} bytes would unpack to more than {limit:,}: a decompression bomb; "
            "unpack it by hand if you trust it"
        )
    return content


def _read(stream: IO[bytes], size: int, start: bytes) -> tuple[Dataset, str, bool]:
    if _DEFLATED in start:
        content = unpack_deflated(stream, size)
        unpacked = io.BytesIO(content)
        data = read_dataset(unpacked, False, True, stop_when=_at_pixels, specific_tags=TAGS)
        whole = _is_whole(unpacked, len(content), data, compressed=False)
        return data, str(DeflatedExplicitVRLittleEndian), whole
    meta = _file_meta(start)
    if meta is not None:
        offset, sop_class, syntax = meta
        stream.seek(offset)
        data = read_dataset(
            cast(BinaryIO, stream),
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=_at_pixels,
            specific_tags=TAGS,
        )
    else:
        data = pydicom.dcmread(
            cast(BinaryIO, stream),
            stop_before_pixels=True,
            force=start[128:132] != b"DICM",
            specific_tags=list(TAGS),
        )
        sop_class = str(data.file_meta.get("MediaStorageSOPClassUID") or "")
        syntax = UID(data.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)
    if sop_class == DICOMDIR:
        raise NotDicom("DICOMDIR")
    return data, str(syntax), _is_whole(stream, size, data, compressed=syntax.is_compressed)


def _file_meta(start: bytes) -> tuple[int, str, UID] | None:
    """Where the data set begins, class and transfer syntax, read from the plain bytes of an ordinary file.

    None where anything about it is out of the ordinary; pydicom then reads it with all its care.
    """
    if start[128:140] != b"DICM\x02\0\0\0UL\x04\0":
        return None
    end = 144 + int.from_bytes(start[140:144], "little")
    if end > len(start):
        return None
    place, found = 144, {}
    while place + 8 <= end:
        group, element, vr, length = struct.unpack_from("<HH2sH", start, place)
        place += 8
        if group != 2:
            return None
        if vr in (b"OB", b"UN"):
            length = int.from_bytes(start[place : place + 4], "little")
            place += 4
        found[element] = start[place : place + length]
        place += length
    syntax = UID(found.get(0x10, b"").rstrip(b"\0 ").decode("ascii"))
    if place != end or not syntax.is_transfer_syntax or syntax.is_private:
        return None
    return end, found.get(0x02, b"").rstrip(b"\0 ").decode("ascii"), syntax


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag >> 16 == 0x7FE0


def _is_whole(stream: IO[bytes], size: int, data: Dataset, *, compressed: bool) -> bool:
    """Whether the pixels are all there; a file without an image is whole."""
    rows, columns = integer(data, "Rows"), integer(data, "Columns")
    if not rows or not columns:
        return True
    n_values = (
        rows * columns * (integer(data, "SamplesPerPixel") or 1) * (integer(data, "NumberOfFrames") or 1)
    )
    n_bytes = n_values * (integer(data, "BitsAllocated") or 16) // 8
    if compressed:
        if n_bytes > max(MAX_RATIO * size, SMALL):
            raise NotDicom("image that would unpack to far more than its size")
        stream.seek(max(size - _TAIL, 0))
        return _END_OF_FRAMES in stream.read(_TAIL)
    element_header = 8 if data.original_encoding[0] else 12  # tag, type and length of the pixels
    return size - stream.tell() >= n_bytes + element_header


def _looks_like_a_dataset(start: bytes) -> bool:
    """Whether a file without preamble begins with an element of group 0008 (or 0002), little endian."""
    return len(start) == 132 and start[:2] in (b"\x08\0", b"\x02\0") and start[3:4] == b"\0"
