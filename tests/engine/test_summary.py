"""Summaries of parts that ran at different times."""

import os
from pathlib import Path

from perfmap.engine.bids import part_name
from perfmap.engine.summary import Row, Summary, merge_parts, write_summary


def test_of_a_case_in_several_summaries_the_one_written_last_counts(tmp_path: Path) -> None:
    """Also where a part failed first and a run over everything succeeded later."""
    part = write_summary(Summary((Row("sub-01", "a", status="failed"),), part="sub-01"), tmp_path)
    whole = write_summary(Summary((Row("sub-01", "a"), Row("sub-02", "b"))), tmp_path)
    for newest, status in ((whole, "done"), (part, "failed")):
        for place, path in enumerate((part, whole)):
            os.utime(path, ns=(place, place))
        os.utime(newest, ns=(9, 9))
        assert [(row.case, row.status) for row in merge_parts(tmp_path).rows] == [
            ("sub-01", status),
            ("sub-02", "done"),
        ]


def test_a_label_given_in_two_spellings_is_one_part() -> None:
    assert part_name(["01", "sub-01"], []) == part_name(["01"], []) == "sub-01"
