"""What the Dagster UI shows of a table: counts, preview, pictures."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from tracepipe.checkpoints import Checkpoints
from tracepipe.lineage.links import FAMILIES, family_of
from tracepipe.records import Table
from tracepipe.report.tables import Grid, preview_grid
from tracepipe.store import Event


def table_schema(table: Table) -> dg.TableSchema:
    """Return a table's columns with types and meanings."""
    return dg.TableSchema(
        [dg.TableColumn(name, type=str(column.dtype), description=column.meaning) for name, column in table.items()]
    )


def column_lineage(asset: str, table: Table, reads: Sequence[str]) -> dg.TableColumnLineage:
    """Return for each column the columns of the tables read that its values are taken or made from."""
    family = FAMILIES.get(family_of(asset))
    if family is None:
        return dg.TableColumnLineage({})
    sources: dict[str, list[tuple[str, str]]] = {column: list(family.origins.get(column, ())) for column in table}
    for link in family.links:
        for own, theirs in link.on.items():
            sources[own] += [(to, theirs) for to in link.to]
    deps = {
        column: [
            dg.TableColumnDep(dg.AssetKey(name.split("/")), origin)
            for name in reads
            for to, origin in dict.fromkeys(found)
            if family_of(name) == to
        ]
        for column, found in sources.items()
    }
    return dg.TableColumnLineage({column: found for column, found in deps.items() if found})


def event_metadata(event: Event, frame: pl.DataFrame, partitioned: bool, withheld: bool) -> dict[str, Any]:
    """Return the figures that every materialisation shows; no row of a withheld table, which would leave its root."""
    count = "dagster/partition_row_count" if partitioned else "dagster/row_count"
    return {
        count: event.rows,
        "bytes": event.bytes,
        "seconds": round(event.seconds, 3),
        "cost USD": round(event.cost_usd, 6),
        "version": event.version,
        "code": f"version {event.code_version}, commit {event.commit}",
        "configuration": dg.MetadataValue.json(event.config),
        "ran on": event.ran_on,
        **({"given models": dg.MetadataValue.json(event.models)} if event.models else {}),
        **({} if withheld else {"preview": grid_metadata(preview_grid(frame))}),
        **{name: value for name, value in event.details.items() if value is not None},
    }


def checkpoint_paths(frame: pl.DataFrame, checkpoints: Checkpoints) -> dict[str, dg.PathMetadataValue]:
    """Return the folders of the checkpoints that a table names, made or used."""
    if "checkpoint_id" not in frame.columns:
        return {}
    there = [one for one in frame["checkpoint_id"].unique(maintain_order=True) if checkpoints.find(one)]
    return {f"checkpoint {one}": dg.MetadataValue.path(str(checkpoints.path(one))) for one in there}


def grid_metadata(grid: Grid) -> dg.MarkdownMetadataValue:
    """Return a table as Markdown."""
    return dg.MetadataValue.md(grid.markdown())


def picture_metadata(png: bytes, alternative: str) -> dg.MarkdownMetadataValue:
    """Return a PNG as an inline picture."""
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{base64.b64encode(png).decode()})")


def counts(frame: pl.DataFrame, column: str) -> Mapping[str, int]:
    """Return how often each value of a column stands, as `column: value` -> count."""
    found = frame[column].value_counts().sort(column)
    return {f"{column}: {value}": count for value, count in found.iter_rows()}
