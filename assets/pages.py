"""Pages for people: one HTML file and its Markdown, written from the tables of a target."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl

from assets.graph import Graph
from assets.step import Beside, Made, Step, TableAsset
from tracepipe.records import FILES
from tracepipe.report.material import Material, tables_of
from tracepipe.report.write import VERSION


def add_page(
    graph: Graph,
    name: str,
    description: str,
    write: Callable[[Material, Path], pl.DataFrame],
    beside: Beside | None = None,
) -> None:
    """Add a page.

    Args:
        graph: Where it is added; the page shows every table of it that reports show.
        name: Asset key.
        description: What it is.
        write: Writes the files into a folder and returns FILES.
        beside: What it shows of the study's other targets.
    """

    def make(step: Step) -> Made:
        tables = {table: step.read(table) for table in step.asset.reads}
        material = Material(step.study, step.target, tables, step.history(), step.read_beside())
        return Made(write(material, step.report_folder))

    graph.add(
        TableAsset(
            name=name,
            stage="report",
            description=description,
            table=FILES,
            version=VERSION,
            config=graph.study.model_dump(mode="json", exclude={"compute"}),
            reads=[table for table in tables_of(graph.study) if table in graph.tables],
            beside=beside,
            target_config=lambda target: target.model_dump(mode="json"),
            kinds=frozenset({"html"}),
            sees_withheld=True,
            describe=lambda files: {
                kind: dg.MetadataValue.path(path) for kind, path in files.select("format", "path").iter_rows()
            },
            intact=lambda _, files: all(Path(path).exists() for path in files["path"]),
            make=make,
        )
    )
