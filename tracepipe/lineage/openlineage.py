"""Lineage events in the OpenLineage format, for Marquez, DataHub and others."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from tracepipe.lineage.entries import Entry

_NAMESPACE = "tracepipe"
_PRODUCER = "urn:tracepipe"


def run_events(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield one COMPLETE run event per materialisation, as JSON.

    A job is `<study>.<asset>`, a data set `<study>.<asset>.<partition>` with its version, columns, rows and gates.
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import source_code_location_job
    from openlineage.client.serde import Serde

    by_version = {(entry.event.study, entry.event.as_input): entry for entry in entries}
    for entry in entries:
        event = entry.event
        read = [by_version[key] for one in event.inputs if (key := (event.study, one)) in by_version]
        code = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=_PRODUCER, version=event.commit or event.code_version, producer=_PRODUCER
        )
        yield Serde.to_json(
            RunEvent(
                eventType=RunState.COMPLETE,
                eventTime=event.created_at,
                producer=_PRODUCER,
                run=Run(runId=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{event.study} {event.as_input}"))),
                job=Job(_NAMESPACE, f"{event.study}.{event.asset}", {"sourceCodeLocation": code}),
                inputs=[_input(one) for one in read],
                outputs=[_output(entry)],
            )
        )


def _name(entry: Entry) -> str:
    return f"{entry.event.study}.{entry.event.asset}.{entry.event.partition}"


def _facets(entry: Entry) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

    fields = [schema_dataset.SchemaDatasetFacetFields(name, type_) for name, type_ in entry.event.columns.items()]
    return {
        "schema": schema_dataset.SchemaDatasetFacet(fields=fields, producer=_PRODUCER),
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(entry.event.version, producer=_PRODUCER),
    }


def _input(entry: Entry) -> Any:
    from openlineage.client.event_v2 import InputDataset

    return InputDataset(_NAMESPACE, _name(entry), facets=_facets(entry))


def _output(entry: Entry) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    event = entry.event
    gates = [quality.Assertion(assertion=gate.name, success=gate.passed) for gate in event.gates]
    checked = quality.DataQualityAssertionsDatasetFacet(assertions=gates, producer=_PRODUCER)
    counted = statistics.OutputStatisticsOutputDatasetFacet(
        rowCount=event.rows, size=event.bytes, fileCount=1, producer=_PRODUCER
    )
    facets = _facets(entry) | {"dataQualityAssertions": checked}
    return OutputDataset(_NAMESPACE, _name(entry), {"outputStatistics": counted}, facets=facets)
