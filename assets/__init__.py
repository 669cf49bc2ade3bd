"""Software-defined assets: one file per stage, each thin: read, call `tracepipe`, return rows and verdicts."""

import dagster as dg

from assets.benchmarks import add_benchmarks
from assets.exposures import add_target_exposures
from assets.graph import Graph
from assets.inversion import add_inversion
from assets.prompts import add_prompts
from assets.report import add_report
from assets.selection import add_selection
from assets.students import add_students
from assets.surrogate import add_surrogate
from assets.target import add_target
from tracepipe.study import Study

_STAGES = (
    add_prompts,
    add_surrogate,
    add_target,
    add_target_exposures,
    add_inversion,
    add_selection,
    add_students,
    add_benchmarks,
    add_report,
)


def build_assets(study: Study) -> list[dg.AssetsDefinition]:
    """Return the assets of a study, in the order of the pipeline."""
    return build_graph(study).assets


def build_graph(study: Study) -> Graph:
    """Return the graph of a study."""
    graph = Graph(study)
    for add in _STAGES:
        add(graph)
    return graph
