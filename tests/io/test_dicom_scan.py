from __future__ import annotations

import io
import os
import shutil
import struct
import traceback
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from perfmap.errors import InputError
from perfmap.io.dicom_files import holds_dicom
from perfmap.io.dicom_scan import Scan as Found
from perfmap.io.dicom_scan import scan_export
from tests.dicom_factory import Scan, oblique_affine, write_classic, write_enhanced, write_mosaic

SIGNAL = np.random.default_rng(0).integers(0, 900, (8, 6, 2, 3)).astype(float)
AFFINE = oblique_affine((8, 6, 2))
N_IMAGES = 6


def scan(**options: object) -> Scan:
    return Scan(SIGNAL, AFFINE, **options)  # type: ignore[arg-type]


def n_frames(found: Found) -> list[int]:
    return [len(series.frames) for series in found.series]


def test_series_are_told_apart_wherever_their_files_lie(tmp_path: Path) -> None:
    write_classic(scan(), tmp_path / "a" / "b", suffix="")
    paths = write_classic(scan(series="other", series_number=3), tmp_path / "c")
    paths[0].rename(tmp_path / "a" / "IMG")
    write_classic(scan(name="another patient"), tmp_path / "c" / "deeper")
    found = scan_export(tmp_path)
    assert sorted(n_frames(found)) == [N_IMAGES] * 3
    assert len({series.study_uid for series in found.series}) == 2
    assert found.n_files == 3 * N_IMAGES


def test_copies_count_once(tmp_path: Path) -> None:
    write_classic(scan(), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    series = scan_export(tmp_path).series[0]
    assert (len(series.frames), series.n_duplicates) == (N_IMAGES, N_IMAGES)


def test_truncated_file_is_no_image_and_does_not_hide_a_whole_copy(tmp_path: Path) -> None:
    paths = write_classic(scan(), tmp_path / "a")
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    series = scan_export(tmp_path).series[0]
    assert (len(series.frames), series.n_truncated) == (N_IMAGES - 1, 1)
    write_classic(scan(), tmp_path / "b")
    assert len(scan_export(tmp_path).series[0].frames) == N_IMAGES


def test_truncated_compressed_file_is_noticed(tmp_path: Path) -> None:
    paths = write_classic(scan(syntax=RLELossless), tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-12])
    assert scan_export(tmp_path).series[0].n_truncated == 1


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless]
)
def test_every_transfer_syntax_is_read(tmp_path: Path, syntax: str) -> None:
    write_classic(scan(syntax=syntax), tmp_path / "a")
    write_classic(scan(name="plain"), tmp_path / "b")
    found = scan_export(tmp_path)
    one, other = found.series
    assert [f.position for f in one.frames] == [f.position for f in other.frames]
    assert one.header == other.header
    assert {str(syntax)} in (one.syntaxes, other.syntaxes)


def test_big_endian_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    path = write_classic(scan(), tmp_path / "a")[0]
    data = pydicom.dcmread(path)
    data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    (tmp_path / "b").mkdir()
    pydicom.dcmwrite(
        tmp_path / "b" / "big.dcm", data, implicit_vr=False, little_endian=False, force_encoding=True
    )
    assert scan_export(tmp_path / "b").series[0].frames[0].rows == 6


def test_file_without_preamble_is_dicom(tmp_path: Path) -> None:
    path = write_classic(scan(syntax=ImplicitVRLittleEndian), tmp_path / "a")[0]
    data = pydicom.dcmread(path)
    del data.file_meta
    data.preamble = None
    target = tmp_path / "b" / "old"
    target.parent.mkdir()
    data.save_as(target, implicit_vr=True, little_endian=True)
    assert target.read_bytes()[128:132] != b"DICM"
    assert n_frames(scan_export(tmp_path / "b")) == [1]


def test_what_is_no_image_is_counted_by_its_reason(tmp_path: Path) -> None:
    path = write_classic(scan(), tmp_path / "b")[0]
    directory = pydicom.dcmread(path, stop_before_pixels=True)
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.save_as(tmp_path / "b" / "DICOMDIR")
    (tmp_path / "b" / "report.pdf").write_bytes(b"%PDF-1.4 " * 50)
    (tmp_path / "b" / "nothing").touch()
    (tmp_path / "b" / "short").write_bytes(b"DICM")
    os.mkfifo(tmp_path / "b" / "pipe")
    found = scan_export(tmp_path / "b")
    assert n_frames(found) == [N_IMAGES]
    assert found.left == {"DICOMDIR": 1, "not DICOM": 2, "empty file": 1, "not a regular file": 1}
    assert n_frames(scan_export(tmp_path / "b" / "DICOMDIR")) == [N_IMAGES]


def test_other_modalities_keep_no_records(tmp_path: Path) -> None:
    def to_ct(data: Dataset, t: int, k: int) -> None:
        data.Modality, data.SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"

    write_classic(scan(), tmp_path, edit=to_ct)
    series = scan_export(tmp_path).series[0]
    assert (series.header["Modality"], series.n_files, series.frames) == ("CT", N_IMAGES, [])


def test_names_in_any_alphabet_are_read_and_kept_secret(tmp_path: Path) -> None:
    def rename(data: Dataset, t: int, k: int) -> None:
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 192", "Müller^Jürgen=山田^太郎"

    write_classic(scan(), tmp_path, edit=rename)
    series = scan_export(tmp_path).series[0]
    assert {"müller", "jürgen", "山田", "太郎"} <= series.secrets
    assert "Müller" not in repr(series.header)


@pytest.mark.parametrize("kind", ["mosaic", "enhanced"])
def test_frames_of_mosaics_and_enhanced_objects(tmp_path: Path, kind: str) -> None:
    if kind == "mosaic":
        write_mosaic(scan(), tmp_path)
        frames = scan_export(tmp_path).series[0].frames
        assert [one.n_tiles for one in frames] == [2, 2, 2]
    else:
        write_enhanced(scan(vendor="philips"), tmp_path / "e.dcm")
        frames = scan_export(tmp_path).series[0].frames
        assert [one.frame for one in frames] == [1, 2, 3, 4, 5, 6]
        assert [one.temporal_position for one in frames] == [1, 1, 2, 2, 3, 3]
        assert frames[0].echo_time == pytest.approx(0.03)


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return target


def test_archive_is_read_as_its_folder(tmp_path: Path) -> None:
    write_classic(scan(), tmp_path / "a" / "x")
    archive = zipped(tmp_path / "a", tmp_path / "b.zip")
    assert n_frames(scan_export(archive)) == [N_IMAGES]
    (tmp_path / "c").mkdir()
    shutil.copy(archive, tmp_path / "c" / "STUDY1")  # whatever it is called
    assert n_frames(scan_export(tmp_path / "c")) == [N_IMAGES]
    zipped(tmp_path / "c", tmp_path / "d.zip")
    assert holds_dicom(archive)


def test_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    path = write_classic(scan(), tmp_path / "a")[0]
    archive = tmp_path / "in" / "b.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.write(path, "../../evil.dcm")
        writer.write(path, "/evil.dcm")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        writer.writestr(link, "/etc/passwd")
        writer.writestr("inner.zip", b"PK\x03\x04" + bytes(40))
    found = scan_export(archive)
    series = found.series[0]
    series.frames[0].file.place(tmp_path / "staged.dcm")
    assert not list(tmp_path.rglob("evil*"))
    assert (tmp_path / "staged.dcm").read_bytes() == path.read_bytes()
    assert found.left == {"link": 1, "archive inside an archive": 1}


def test_links_are_not_followed_out_of_the_export(tmp_path: Path) -> None:
    outside = write_classic(scan(), tmp_path / "outside")
    inside = write_classic(scan(series="mine"), tmp_path / "in")
    (tmp_path / "in" / "secret.dcm").symlink_to(outside[0])
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again.dcm").symlink_to(inside[0])
    found = scan_export(tmp_path / "in")
    assert n_frames(found) == [N_IMAGES]
    assert found.left == {"link out of the export": 2, "link": 2}


def test_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1", bytes(17 << 20))
    with pytest.raises(InputError, match="decompression bomb"):
        scan_export(tmp_path)


def test_deflated_bomb_is_refused(tmp_path: Path) -> None:
    path = write_classic(scan(syntax=DeflatedExplicitVRLittleEndian), tmp_path)[0]
    whole = path.read_bytes()
    length = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = io.BytesIO()
    for _ in range(17):
        packed.write(packer.compress(bytes(1 << 20)))
    packed.write(packer.flush())
    path.write_bytes(whole[:length] + packed.getvalue())
    with pytest.raises(InputError, match="decompression bomb"):
        scan_export(tmp_path)


def test_compressed_image_that_claims_to_be_huge_is_never_unpacked(tmp_path: Path) -> None:
    path = write_classic(scan(syntax=RLELossless), tmp_path)[0]
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 65535  # 8 GB of pixels in a file of some kilobytes
    data.save_as(path)
    found = scan_export(tmp_path)
    assert len(found.series[0].frames) == N_IMAGES - 1
    assert found.left == {"image that would unpack to far more than its size": 1}


def test_file_that_went_away_is_refused_without_its_name(tmp_path: Path) -> None:
    write_classic(scan(), tmp_path / "LOVELACE")
    file = scan_export(tmp_path / "LOVELACE").series[0].frames[0].file
    file.path.unlink()
    with pytest.raises(InputError, match="no longer be read") as refusal, file.open():
        pass
    told = "".join(traceback.format_exception(refusal.value))
    assert "LOVELACE" not in told.replace(__file__, "")


def test_damaged_archives_do_not_stop_a_scan(tmp_path: Path) -> None:
    write_classic(scan(), tmp_path / "a")
    archive = zipped(tmp_path / "a", tmp_path / "a" / "z.zip")
    content = bytearray(archive.read_bytes())
    content[200:260] = bytes(60)
    archive.write_bytes(content)
    (tmp_path / "a" / "y.zip").write_bytes(b"PK\x03\x04garbage")
    found = scan_export(tmp_path / "a")
    assert len(found.series[0].frames) == N_IMAGES
    assert found.left["damaged archive"] == 1


def test_missing_export_is_refused_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist") as refusal:
        scan_export(tmp_path / "LOVELACE")
    assert "LOVELACE" not in str(refusal.value)


def test_values_that_cannot_be_decoded_do_not_stop_a_scan(tmp_path: Path) -> None:
    """pydicom decodes a sequence where it is asked for, and raises nearly anything."""
    write_classic(scan(), tmp_path / "a")
    data = pydicom.dcmread(next(path for path in (tmp_path / "a").rglob("*") if path.is_file()))
    data.SeriesInstanceUID, data.SOPInstanceUID = "1.2.3", "1.2.3.4"
    data.save_as(tmp_path / "whole")
    groups = struct.pack("<HH2sHI", 0x5200, 0x9229, b"SQ", 0, 4) + bytes(4)
    content = (tmp_path / "whole").read_bytes()
    pixels = content.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    (tmp_path / "a" / "spoilt.dcm").write_bytes(content[:pixels] + groups + content[pixels:])
    found = scan_export(tmp_path / "a")
    assert len(found.series) == 1
    assert len(found.series[0].frames) == N_IMAGES
    assert found.left["damaged DICOM"] == 1
