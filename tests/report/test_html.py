"""The one-file report: nothing from elsewhere, nothing unescaped, the warning in it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from perfmap.errors import ConfigError
from perfmap.quantities import RESEARCH_ONLY
from perfmap.report.html import Picture, render_report, write_report

PNG = b"\x89PNG light"
DARK = b"\x89PNG dark"
VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Collects elements and visible text, and refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title") and data.strip():
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(**options: Any) -> str:
    content: dict[str, Any] = {
        "title": "CBV map",
        "facts": {"Time step": "1.5 s"},
        "warnings": ["Echo time is not known"],
        "pictures": [Picture(PNG, "a montage", "the map"), Picture(PNG, "a curve", "the curve", DARK)],
        "tables": {"Model": {"Name": "unet-gru", "sha256": "0f" * 32}, "Time axis": {"Echo time, s": None}},
    }
    return render_report(**{**content, **options})


def test_everything_given_is_on_the_page() -> None:
    texts = Page(report(subtitle="by unet-gru")).texts
    for text in (
        "CBV map", "by unet-gru", "Time step", "1.5 s", "Echo time is not known", "the map", "the curve", "Model",
        "unet-gru", "0f" * 32, "Echo time, s", "not known",
    ):  # fmt: skip
        assert text in texts


def test_the_warning_stands_at_the_top_and_at_the_bottom() -> None:
    texts = Page(render_report(title="x")).texts
    assert texts[0] == RESEARCH_ONLY
    assert RESEARCH_ONLY in texts[-1]


def test_pictures_are_inside_the_file_and_nothing_is_loaded() -> None:
    page = Page(report())
    sources = [str(image["src"]) for image in page.all("img")] + [
        str(each["srcset"]) for each in page.all("source")
    ]
    assert [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources] == [
        PNG,
        PNG,
        DARK,
    ]
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert not re.search(r"https?:|//|@import|url\(", report().replace("data:image/png;base64,", ""))
    policy = next(each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert str(policy).startswith("default-src 'none'")


def test_dark_pictures_are_for_screens_only() -> None:
    (source,) = Page(report()).all("source")
    assert source["media"] == "screen and (prefers-color-scheme: dark)"


def test_accessible_names_and_structure() -> None:
    page = Page(report())
    assert page.all("html") == [{"lang": "en"}]
    assert [image["alt"] for image in page.all("img")] == ["a montage", "a curve"]
    assert len(page.all("h1")) == 1
    assert all(cell == {"scope": "row"} for cell in page.all("th"))
    identifiers = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {
        each["aria-labelledby"] for each in page.all("section") if "aria-labelledby" in each
    } <= identifiers


def test_text_is_escaped_wherever_it_comes_from() -> None:
    evil = "<script>alert(1)</script>\"'&"
    html = render_report(
        title=evil,
        subtitle=evil,
        facts={evil: evil},
        warnings=[evil],
        pictures=[Picture(PNG, evil, evil)],
        tables={evil: {evil: evil, "list": [evil]}},
    )
    page = Page(html)
    assert page.all("script") == []
    assert page.all("img")[0]["alt"] == evil
    assert page.texts.count(evil) >= 7


def test_values_are_written_for_people() -> None:
    rows = {"a": 1.23456789, "b": True, "c": [1, 2.5, None], "d": (), "e": 0}
    texts = Page(render_report(title="x", tables={"t": rows})).texts
    assert texts[texts.index("A") : texts.index("E") + 2] == [
        "A", "1.23457", "B", "yes", "C", "1, 2.5, not known", "D", "none", "E", "0",
    ]  # fmt: skip


def test_keys_of_a_sidecar_become_words() -> None:
    rows = dict.fromkeys(("time_step_s", "voxel_size_mm", "sha256", "TrainingData", "not_finite"), 1)
    texts = Page(render_report(title="x", tables={"t": rows})).texts
    assert [text for text in texts[texts.index("t") + 1 :] if text != "1"][:-1] == [
        "Time step, s", "Voxel size, mm", "sha256", "Training data", "Not finite",
    ]  # fmt: skip


def test_no_warning_no_box() -> None:
    assert "To know before" not in report(warnings=[])


def test_equal_content_gives_equal_bytes_and_no_file_is_overwritten_unasked(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, title="x", pictures=[Picture(PNG, "a", "b")])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        write_report(tmp_path / "a.html", title="y")
    write_report(tmp_path / "a.html", title="y", overwrite=True)
    assert b"<h1>y</h1>" in (tmp_path / "a.html").read_bytes()
