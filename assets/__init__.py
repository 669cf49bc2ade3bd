"""Software-defined assets: one file per stage, each thin: read, call `tracepipe`, return rows and verdicts."""

import dagster as dg

from assets.benchmarks import add_benchmarks
from assets.graph import Graph
from assets.inversion import add_inversion
from assets.prompts import add_prompts
from assets.report import add_report
from assets.students import add_students
from assets.surrogate import add_surrogate
from assets.target import add_target
from tracepipe.study import Study


def build_assets(study: Study) -> list[dg.AssetsDefinition]:
    """Return the assets of a study, in the order of the pipeline."""
    graph = Graph(study)
    for add in (add_prompts, add_surrogate, add_target, add_inversion, add_students, add_benchmarks, add_report):
        add(graph)
    return graph.assets
