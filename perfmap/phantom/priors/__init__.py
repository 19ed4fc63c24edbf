"""Every number that the simulator draws from or takes as given: range, unit and where it comes from.

The rows stand in one file a subject; `perfmap.phantom.priors.table.TABLE` has them all by name.

Source tags
-----------
``V``
    Read in a published source, which the row's note names.
``D``
    Derived, measured or chosen for this simulator.
``M``
    Literature as remembered: a prior, not a fact.
"""

from perfmap.phantom.priors.labels import (
    FIELD_STRENGTHS,
    HEAD_CLASSES,
    LABELS,
    LESION_CLASSES,
    VESSEL_CLASSES,
)
from perfmap.phantom.priors.row import Choice, Places, Prior, Row, Source, draw
from perfmap.phantom.priors.tissue import TISSUE, TissuePrior

__all__ = [
    "FIELD_STRENGTHS",
    "HEAD_CLASSES",
    "LABELS",
    "LESION_CLASSES",
    "TISSUE",
    "VESSEL_CLASSES",
    "Choice",
    "Places",
    "Prior",
    "Row",
    "Source",
    "TissuePrior",
    "draw",
]
