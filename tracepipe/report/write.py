"""Write a target's report: one HTML file that needs no network and runs no script, and Markdown."""

import base64
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader, select_autoescape

from tracepipe.files import write_atomically
from tracepipe.records import FILES, from_rows
from tracepipe.report.limits import cautions
from tracepipe.report.material import Material
from tracepipe.report.reader import LONGEST, Example, examples
from tracepipe.report.section import Section
from tracepipe.report.sections import audit_sections, sections
from tracepipe.report.tables import escaped

VERSION = "3"


def write_report(material: Material, folder: Path) -> pl.DataFrame:
    """Write `report.html` and `report.md`; see `_write_page`."""
    return _write_page(material, folder, "report", sections(material), examples(material))


def write_audit(material: Material, folder: Path) -> pl.DataFrame:
    """Write the audit's one page, `audit.html` and `audit.md`; see `_write_page`."""
    return _write_page(material, folder, "audit", audit_sections(material), [])


def _write_page(
    material: Material, folder: Path, name: str, written: list[Section], rows: list[Example]
) -> pl.DataFrame:
    """Write sections and example rows as HTML, and the sections as Markdown.

    Args:
        material: What the page shows.
        folder: Where the files go.
        name: Of the files.
        written: The sections.
        rows: The example rows.

    Returns:
        FILES.
    """
    comparison = material.table("comparison")
    notes = [] if comparison is None else cautions(material.study, comparison)
    environment = Environment(
        loader=PackageLoader("tracepipe", "report"), autoescape=select_autoescape(["jinja"]), trim_blocks=True
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    environment.filters["csv"] = lambda data: data.write_csv().encode()
    html = environment.get_template("report.html.jinja").render(
        study=material.study,
        target=material.target,
        cautions=notes,
        sections=written,
        examples=rows,
        longest=LONGEST,
    )
    files = {
        "html": (folder / f"{name}.html", html),
        "markdown": (folder / f"{name}.md", _markdown(material, notes, written)),
    }
    for path, text in files.values():
        write_atomically(path, text.encode())
    return from_rows(
        [{"path": str(path), "format": kind, "bytes": path.stat().st_size} for kind, (path, _) in files.items()],
        FILES,
    )


def _markdown(material: Material, notes: list[str], written: list[Section]) -> str:
    parts = [f"# {material.study.name}: {material.target.partition}", *(f"> {escaped(note)}" for note in notes)]
    for section in written:
        parts += [f"## {section.title}"]
        parts += [escaped(section.text)] * bool(section.text)
        parts += [grid.markdown() for grid in section.grids]
        parts += ["\n".join(f"- {escaped(point)}" for point in section.points)] * bool(section.points)
    return "\n\n".join(parts) + "\n"
