"""A report as one HTML file, which loads nothing and runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unimiss import __version__
from unimiss.evaluation.figures import Plot, printable
from unimiss.evaluation.problems import Problem
from unimiss.runs import atomic

MOST_ROWS = 500
"""Of a table in a page; the CSV holds them all."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; `note` stands below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG, or none, with its caption."""

    png: bytes | None
    caption: str

    @property
    def source(self) -> str:
        """The picture as text inside the page."""
        return f"data:image/png;base64,{base64.b64encode(self.png or b'').decode()}"


@dataclass(frozen=True)
class Page:
    """What a report shows, in its order.

    Attributes
    ----------
    title : str
        Its heading.
    facts : sequence of (str, str)
        What was evaluated.
    problems : sequence of Problem
        What was left out; it stands above all figures.
    means : Table
        The main figures.
    plots, pictures, tables : sequences
        What lies behind them; `pictures_note` says what the pictures show.
    cases : Table
        Every case, the worst first.
    terms : sequence of (str, str)
        What each figure means.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    problems: Sequence[Problem]
    means: Table
    tables: Sequence[Table]
    plots: Sequence[Plot]
    pictures: Sequence[Picture]
    pictures_note: str
    cases: Table
    terms: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def write(self, path: Path) -> None:
        """Write the page; every text in it is escaped, for names come from files.

        Raises
        ------
        JobError
            The disk is full or the folder may not be written.
        """
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: printable(value) if type(value) is str else value,
        )
        text = environment.get_template("page.html").render(page=self, version=__version__, most=MOST_ROWS)
        atomic.write_text(path, text)


def interval_term(patients: int, resamples: int, seed: int) -> tuple[str, str]:
    """Say how the intervals were made."""
    unit = "patients, each with all of their images" if patients else "cases, as no patients are known"
    how = f"percentile bootstrap: {resamples} draws with replacement of {unit}; seed {seed}."
    return (
        "95 % interval",
        f"{how} It says how far the choice of cases could move a figure; training could too.",
    )
