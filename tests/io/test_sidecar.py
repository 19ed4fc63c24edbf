"""Equal content gives equal bytes, and a damaged sidecar is named rather than passed over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmap.errors import ConfigError, InputError
from perfmap.io.sidecar import json_text, read_json, read_sidecar, sha256_of, sidecar_path, write_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_order_of_keys_changes_nothing_and_the_content_comes_back(content: dict[str, object]) -> None:
    text = json_text(content)
    assert json_text(dict(reversed(content.items()))) == text
    assert json.loads(text) == content


def test_text_is_sorted_utf8_with_a_newline() -> None:
    assert json_text({"b": "µ", "a": (1, 2)}) == '{\n  "a": [\n    1,\n    2\n  ],\n  "b": "µ"\n}\n'


def test_numpy_paths_and_missing_numbers_become_plain_json() -> None:
    content = {
        "nan": float("nan"),
        "infinite": np.float32("inf"),
        "single": np.float32(0.5),
        "array": np.array([1, 2]),
        "path": Path("a/b"),
    }
    plain = {"nan": None, "infinite": None, "single": 0.5, "array": [1, 2], "path": "a/b"}
    assert json.loads(json_text(content)) == plain


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [("dsc.nii.gz", "dsc.json"), ("dsc.nii", "dsc.json"), ("a.b.nii.gz", "a.b.json"), ("D.NII.GZ", "D.json")],
)
def test_sidecar_has_the_stem_of_its_image(image: str, sidecar: str) -> None:
    assert sidecar_path(Path("x") / image) == Path("x") / sidecar


def test_image_without_sidecar_has_an_empty_one(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path / "dsc.nii.gz") == {}


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"a": \xff}', "[" * 100_000])
def test_damaged_sidecar_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "dsc.json").write_text(text, "latin-1")
    with pytest.raises(InputError, match=r"dsc\.json.*(mend|take it away)"):
        read_sidecar(tmp_path / "dsc.nii.gz")


def test_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "dsc.json").write_bytes(b'\xef\xbb\xbf{"EchoTime": 0.03}')
    assert read_json(tmp_path / "dsc.json") == {"EchoTime": 0.03}


def test_written_json_reads_back_and_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"x": 1}, path)
    with pytest.raises(ConfigError, match="--overwrite"):
        write_json({"x": 2}, path)
    assert read_json(path) == {"x": 1}
    write_json({"x": 2}, path, overwrite=True)
    assert read_json(path) == {"x": 2}


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(data)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="none"):
        sha256_of(tmp_path / "none")
