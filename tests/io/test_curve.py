"""Curves in text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfmap.errors import InputError
from perfmap.io.curve import read_curve


@pytest.mark.parametrize(
    "text",
    [
        "1\n2.5\n-3e1\n",
        "time,aif\n0,1\n1.5,2.5\n3,-30\n",
        "# ΔR2*\n\n0;1\n1;2.5\n2;-30\n",
        "\ufeff0 1\n0 2.5\n0 -30",
    ],
)
def test_lists_and_tables(text: str, tmp_path: Path) -> None:
    path = tmp_path / "aif.csv"
    path.write_text(text, encoding="utf-8")
    assert read_curve(path).tolist() == [1, 2.5, -30]


@pytest.mark.parametrize(
    ("text", "seen"), [("1\n2\nx\n", "line 3"), ("", "0 numbers"), ("1\nnan\n", "one finite number")]
)
def test_refusals(text: str, seen: str, tmp_path: Path) -> None:
    path = tmp_path / "aif.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=seen):
        read_curve(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the curve"):
        read_curve(tmp_path / "none.txt")
    (tmp_path / "image.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="cannot read the curve"):
        read_curve(tmp_path / "image.txt")
