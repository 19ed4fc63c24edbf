"""What a batch did, a line a case: written as CSV and JSON, read back, and merged from shards."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import perfmap
from perfmap.errors import InputError
from perfmap.io.files import atomic_output
from perfmap.io.sidecar import read_json, write_json
from perfmap.quantities import RESEARCH_ONLY

Status = Literal["done", "skipped", "failed", "incomplete"]
COLUMNS = ("case", "input", "output", "status", "reason", "qc", "seconds")
SHARDS = "shards"


@dataclass(frozen=True)
class Row:
    """One case of a batch.

    Attributes
    ----------
    case, input, output : str
        Name, file read, and map, the latter relative to the output folder; empty where there is none.
    status : str
        ``done``, ``skipped`` (nothing to do), ``failed``, or ``incomplete`` (to be tried again).
    reason : str
        Why it is not ``done``.
    qc : str
        What the quality gate says.
    seconds : float
        Wall time spent on the case.
    code : int
        Exit code that the case alone would have ended with.
    """

    case: str
    input: str
    output: str = ""
    status: Status = "done"
    reason: str = ""
    qc: str = ""
    seconds: float = 0.0
    code: int = 0


@dataclass(frozen=True)
class Summary:
    """All cases of a batch, or of one shard of it.

    Attributes
    ----------
    rows : tuple of Row
        Sorted by case.
    left_out : tuple of (str, str)
        Files that are no case, with the reason.
    list_sha256 : str
        Fingerprint of the whole list of cases.
    shard : tuple of int
        Number of this shard, and how many there are.
    part : str
        Name of a part of the list that was chosen by its labels; empty for the whole list and for shards.
    """

    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    list_sha256: str = ""
    shard: tuple[int, int] = (1, 1)
    part: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Cases by status; every status is there."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in ("done", "skipped", "failed", "incomplete")}

    def exit_code(self, *, partial_ok: bool = False) -> int:
        """0 where every case is done or skipped; 5 where all that failed failed the quality gate; else 4."""
        bad = [row for row in self.rows if row.status in ("failed", "incomplete")]
        if not bad or partial_ok:
            return 0
        return 5 if all(row.code == 5 for row in bad) else 4


def summary_path(output: Path, shard: tuple[int, int], part: str = "") -> Path:
    """``summary.json`` of a whole batch, or that of a shard or part; the CSV file lies beside it."""
    index, n = shard
    if part:
        return output / SHARDS / f"part-{part}.json"
    if n == 1:
        return output / "summary.json"
    return output / SHARDS / f"summary-{index:05d}-of-{n:05d}.json"


def write_summary(summary: Summary, output: Path) -> Path:
    """Write a summary as CSV and JSON; an older one is replaced.

    Returns
    -------
    Path
        The JSON file.
    """
    path = summary_path(output, summary.shard, summary.part)
    with atomic_output(path.with_suffix(".csv"), overwrite=True) as stream:
        stream.write(as_csv(summary.rows).encode("utf-8", "surrogateescape"))
    write_json(as_dict(summary), path, overwrite=True)
    return path


def as_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV with the columns of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def as_dict(summary: Summary) -> dict[str, Any]:
    """Summary as it stands in JSON."""
    return {
        "warning": RESEARCH_ONLY,
        "version": perfmap.__version__,
        "counts": summary.counts,
        "cases": [asdict(row) for row in summary.rows],
        "left_out": [{"input": path, "reason": reason} for path, reason in summary.left_out],
        "list_sha256": summary.list_sha256,
        "shard": list(summary.shard),
    }


def read_summary(path: Path) -> Summary:
    """Read a summary that `write_summary` wrote.

    Raises
    ------
    InputError
        If it cannot be read or is no such summary.
    """
    content = read_json(path)
    try:
        index, n = content["shard"]
        return Summary(
            rows=tuple(Row(**row) for row in content["cases"]),
            left_out=tuple((entry["input"], entry["reason"]) for entry in content["left_out"]),
            list_sha256=content["list_sha256"],
            shard=(int(index), int(n)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no summary of perfmap ({error}); run its shard again") from error


def merge_shards(output: Path) -> Summary:
    """Put the summaries of all shards together.

    Raises
    ------
    InputError
        If a shard is missing, or the shards worked on different lists.
    """
    paths = sorted((output / SHARDS).glob("summary-*-of-*.json"))
    if not paths:
        raise InputError(f"no shard has left a summary in {output / SHARDS}; run predict with --shard first")
    parts = [read_summary(path) for path in paths]
    _check_complete(parts, output)
    return Summary(
        rows=tuple(sorted((row for part in parts for row in part.rows), key=lambda row: row.case)),
        left_out=tuple(entry for part in parts for entry in part.left_out),
        list_sha256=parts[0].list_sha256,
    )


def merge_parts(output: Path) -> Summary:
    """Put the summaries of all parts together; of a case that stands in several, the one written last counts.

    Raises
    ------
    InputError
        If there is none.
    """
    whole = summary_path(output, (1, 1))
    paths = [*(output / SHARDS).glob("part-*.json"), *([whole] if whole.is_file() else [])]
    if not paths:
        raise InputError(f"no participant has left a summary in {output}; run the level 'participant' first")
    parts = [read_summary(path) for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)]
    rows = {row.case: row for part in parts for row in part.rows}
    return Summary(
        rows=tuple(rows[case] for case in sorted(rows)),
        left_out=tuple(dict.fromkeys(entry for part in parts for entry in part.left_out)),
    )


def _check_complete(parts: Sequence[Summary], output: Path) -> None:
    totals = sorted({part.shard[1] for part in parts})
    if len(totals) > 1:
        raise InputError(
            f"{output / SHARDS} holds shards of {' and of '.join(map(str, totals))}; take away those of the older run"
        )
    missing = sorted(set(range(1, totals[0] + 1)) - {part.shard[0] for part in parts})
    if missing:
        named = ", ".join(map(str, missing[:10])) + (" and more" if len(missing) > 10 else "")
        raise InputError(
            f"{len(missing)} of {totals[0]} shards have no summary ({named}); run them, then merge"
        )
    if len({part.list_sha256 for part in parts}) > 1:
        raise InputError(
            "the shards worked on different lists of cases; freeze the list with 'perfmap cases', and run them on it"
        )
