"""What a report is made of: sections, with grids and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from tracepipe.report.tables import Grid


@dataclass(frozen=True)
class Figure:
    """A plot as SVG, what it shows in words, and the data it was drawn from."""

    svg: bytes
    alternative: str
    name: str
    data: pl.DataFrame


@dataclass(frozen=True)
class Section:
    """A part of the report; points are listed, failures among them stand out."""

    anchor: str
    title: str
    text: str = ""
    points: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    figures: Sequence[Figure] = field(default_factory=tuple)
