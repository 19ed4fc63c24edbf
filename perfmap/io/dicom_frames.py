"""What one DICOM header says about the images in it: one record a frame, small enough to keep fifty thousand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from perfmap.io.dicom_files import ExportFile
from perfmap.io.dicom_header import PHILIPS_SCALE, SIEMENS_B_VALUE, SIEMENS_CSA, SIEMENS_TILES
from perfmap.io.dicom_values import integer, number, numbers, text

MR, ENHANCED_MR, LEGACY_ENHANCED_MR = (
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
)
MR_CLASSES = {MR, ENHANCED_MR, LEGACY_ENHANCED_MR}
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image: a classic file, a frame of an enhanced one, or a whole mosaic. Times in s, lengths in mm.

    Attributes
    ----------
    file : ExportFile
    frame : int or None
        Number in an enhanced object, from 1.
    sop_uid, series_uid : str
    position : tuple or None
        ImagePositionPatient, LPS+. In a mosaic that of the mosaic, which is not that of a slice.
    orientation : tuple or None
        ImageOrientationPatient.
    spacing : tuple or None
        PixelSpacing: distance of rows, of columns.
    rows, columns : int
    slice_step : float
        SpacingBetweenSlices, else SliceThickness.
    echo_time : float or None
    component : str
        ``"magnitude"``, ``"phase"``, ``"real"`` or ``"imaginary"``.
    slope, intercept : float
        Rescale.
    scale_slope : float or None
        Philips' private factor between stored and measured values.
    acquisition_time, content_time, trigger_time : float or None
        The first two in s since midnight, the third since the start of the series.
    temporal_position, acquisition_number, instance_number : int or None
    n_tiles : int
        Slices in a mosaic; 0 for other images.
    """

    file: ExportFile
    frame: int | None
    sop_uid: str
    series_uid: str
    position: Triple | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    rows: int
    columns: int
    slice_step: float
    echo_time: float | None
    component: str
    slope: float
    intercept: float
    scale_slope: float | None
    acquisition_time: float | None
    content_time: float | None
    trigger_time: float | None
    temporal_position: int | None
    acquisition_number: int | None
    instance_number: int | None
    n_tiles: int


def clock(value: str) -> float | None:
    """Seconds since midnight of a DICOM time or date-time, None where it cannot be read."""
    digits = value.partition("+")[0].strip()
    whole, _, fraction = digits.partition(".")
    whole = whole.replace(":", "")
    if not whole.isdigit() or len(whole) < 4:
        return None
    whole = whole[8:] if len(whole) >= 12 else whole
    whole = whole.ljust(6, "0")[:6]
    seconds = int(whole[:2]) * 3600 + int(whole[2:4]) * 60 + int(whole[4:6])
    return seconds + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)


def is_mosaic(data: Dataset) -> bool:
    """Whether an image is a Siemens mosaic."""
    return "MOSAIC" in text(data, "ImageType").upper().split("\\")


def component_of(image_type: str, complex_component: str = "") -> str:
    """Magnitude, phase, real or imaginary, from ImageType and ComplexImageComponent; magnitude if not said."""
    if complex_component and complex_component.upper() != "MIXED":
        return complex_component.lower()
    words = [word.strip().upper() for word in image_type.split("\\")][2:]
    for marks, name in (
        ({"P", "PHASE", "PHASE MAP", "PHASE_MAP"}, "phase"),
        ({"R", "REAL", "R_IR", "R_FFE", "R_SE"}, "real"),
        ({"I", "IMAGINARY", "I_FFE", "I_SE"}, "imaginary"),
    ):
        if marks & set(words):
            return name
    return "magnitude"


def frames_of(
    data: Dataset, file: ExportFile, share: Callable[[Any], Any] = lambda value: value
) -> list[Frame]:
    """The images of one header.

    Parameters
    ----------
    data : Dataset
        From `read_header`.
    file : ExportFile
    share : callable
        Gives one object for equal values, so that fifty thousand records need little memory.
    """
    if "PerFrameFunctionalGroupsSequence" in data:
        return _enhanced(data, file, share)
    return [
        Frame(
            file=file,
            frame=None,
            sop_uid=text(data, "SOPInstanceUID"),
            series_uid=share(text(data, "SeriesInstanceUID")),
            position=share(numbers(data, "ImagePositionPatient", 3)),
            orientation=share(numbers(data, "ImageOrientationPatient", 6)),
            spacing=share(numbers(data, "PixelSpacing", 2)),
            rows=integer(data, "Rows") or 0,
            columns=integer(data, "Columns") or 0,
            slice_step=number(data, "SpacingBetweenSlices") or number(data, "SliceThickness") or 1.0,
            echo_time=share(_scaled(number(data, "EchoTime"))),
            component=component_of(text(data, "ImageType"), text(data, "ComplexImageComponent")),
            slope=number(data, "RescaleSlope") or 1.0,
            intercept=number(data, "RescaleIntercept") or 0.0,
            scale_slope=number(data, PHILIPS_SCALE) if _is_philips(data) else None,
            acquisition_time=clock(text(data, "AcquisitionTime") or text(data, "AcquisitionDateTime")),
            content_time=clock(text(data, "ContentTime")),
            trigger_time=_scaled(number(data, "TriggerTime")),
            temporal_position=integer(data, "TemporalPositionIdentifier"),
            acquisition_number=integer(data, "AcquisitionNumber"),
            instance_number=integer(data, "InstanceNumber"),
            n_tiles=_n_tiles(data) if is_mosaic(data) else 0,
        )
    ]


def b_value_of(data: Dataset) -> float | None:
    """Diffusion weighting of an image, s/mm²; None where it has none."""
    found = number(data, "DiffusionBValue")
    if found is None:
        found = number(data, SIEMENS_B_VALUE)
    if found is None and "PerFrameFunctionalGroupsSequence" in data:
        for group in data.PerFrameFunctionalGroupsSequence:
            found = max(found or 0.0, number(_item(group, "MRDiffusionSequence"), "DiffusionBValue") or 0.0)
    return found or None


def encoding_of(data: Dataset) -> dict[str, Any]:
    """How an image was encoded in plane, in the keys of dcm2niix's sidecar; only what the header says."""
    source, matrix = data, [int(value) for value in numbers(data, "AcquisitionMatrix", 4) or ()]
    direction = text(data, "InPlanePhaseEncodingDirection")
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        geometry = _item((data.get(groups) or [Dataset()])[0], "MRFOVGeometrySequence")
        if geometry is None or matrix:
            continue
        source, direction = geometry, text(geometry, "InPlanePhaseEncodingDirection")
        read = integer(geometry, "MRAcquisitionFrequencyEncodingSteps")
        phase = integer(geometry, "MRAcquisitionPhaseEncodingStepsInPlane")
        if read and phase and direction in ("COLUMN", "ROW"):
            matrix = [read, 0, 0, phase] if direction == "COLUMN" else [0, read, phase, 0]
    found = {
        "AcquisitionMatrix": matrix,
        "InPlanePhaseEncodingDirectionDICOM": direction,
        "PercentPhaseFOV": number(source, "PercentPhaseFieldOfView"),
    }
    return {key: value for key, value in found.items() if value}


def _enhanced(data: Dataset, file: ExportFile, share: Callable[[Any], Any]) -> list[Frame]:
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    start = clock(text(data, "AcquisitionDateTime"))
    found = []
    for index, group in enumerate(data.PerFrameFunctionalGroupsSequence):

        def item(name: str, group: Dataset = group) -> Dataset:
            return _item(group, name) or _item(shared, name) or Dataset()

        content, measures, values = (
            item("FrameContentSequence"),
            item("PixelMeasuresSequence"),
            item("PixelValueTransformationSequence"),
        )
        kind = item("MRImageFrameTypeSequence")
        offset = number(item("TemporalPositionSequence"), "TemporalPositionTimeOffset")
        acquired = clock(text(content, "FrameAcquisitionDateTime"))
        component = text(kind, "ComplexImageComponent") or text(data, "ComplexImageComponent")
        echo = number(item("MREchoSequence"), "EffectiveEchoTime") or number(data, "EffectiveEchoTime")
        found.append(
            Frame(
                file=file,
                frame=index + 1,
                sop_uid=share(text(data, "SOPInstanceUID")),
                series_uid=share(text(data, "SeriesInstanceUID")),
                position=share(numbers(item("PlanePositionSequence"), "ImagePositionPatient", 3)),
                orientation=share(numbers(item("PlaneOrientationSequence"), "ImageOrientationPatient", 6)),
                spacing=share(numbers(measures, "PixelSpacing", 2)),
                rows=integer(data, "Rows") or 0,
                columns=integer(data, "Columns") or 0,
                slice_step=number(measures, "SpacingBetweenSlices")
                or number(measures, "SliceThickness")
                or 1.0,
                echo_time=share(_scaled(echo)),
                component=component_of(text(kind, "FrameType") or text(data, "ImageType"), component),
                slope=number(values, "RescaleSlope") or 1.0,
                intercept=number(values, "RescaleIntercept") or 0.0,
                scale_slope=number(group, PHILIPS_SCALE) if _is_philips(data) else None,
                acquisition_time=share(acquired if acquired is not None else start),
                content_time=share(clock(text(content, "FrameReferenceDateTime"))),
                trigger_time=share(
                    offset
                    if offset is not None
                    else _scaled(
                        number(item("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime")
                    )
                ),
                temporal_position=integer(content, "TemporalPositionIndex"),
                acquisition_number=integer(content, "FrameAcquisitionNumber"),
                instance_number=(integer(data, "InstanceNumber") or 0) * 100_000 + index,
                n_tiles=0,
            )
        )
    return found


def _item(group: Dataset, name: str) -> Dataset | None:
    try:
        first = group.get(name)[0]
    except Exception:  # not there, empty, or of a kind that holds no items
        return None
    return first if isinstance(first, Dataset) else None


def _scaled(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000.0


def _is_philips(data: Dataset) -> bool:
    return "philips" in text(data, "Manufacturer").lower()


def _n_tiles(data: Dataset) -> int:
    """Slices in a mosaic, from the public-private element or the CSA header; 0 where both were taken away."""
    found = number(data, SIEMENS_TILES)
    if found:
        return int(found)
    header = data.get(SIEMENS_CSA)
    raw = bytes(header.value or b"") if header is not None else b""
    start = raw.find(b"NumberOfImagesInMosaic")
    if start < 0:
        return 0
    # Behind the name (64 bytes): multiplicity, VR, type, number of items, mark; then 16 bytes before the first value.
    value = raw[start + 100 : start + 112].partition(b"\0")[0].strip()
    return int(value) if value.isdigit() else 0
