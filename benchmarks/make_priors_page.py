"""Print the table of the simulator's priors into the documentation.

python benchmarks/make_priors_page.py [--output docs/priors.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from perfmap.phantom.priors.table import markdown


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs/priors.md"))
    options = parser.parse_args()
    options.output.write_text(markdown(), "utf-8")


if __name__ == "__main__":
    main()
