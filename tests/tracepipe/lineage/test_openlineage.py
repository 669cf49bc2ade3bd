"""Lineage events in the format that others read."""

import json

from tracepipe.home import Home
from tracepipe.lineage.entries import read_entries
from tracepipe.lineage.openlineage import run_events


def test_every_materialisation_is_a_complete_run_event_with_inputs_columns_rows_and_gates(finished: Home):
    entries = read_entries(*finished.roots)
    events = [json.loads(line) for line in run_events(entries)]
    assert len(events) == len({event["run"]["runId"] for event in events}) == len(entries)
    by_job = {event["job"]["name"]: event for event in events}
    inverted = by_job["tiny.inverted_traces/summary"]
    assert inverted["eventType"] == "COMPLETE"
    assert {one["name"] for one in inverted["inputs"]} == {
        "tiny.prompts.all",
        "tiny.target_outputs.miniature",
        "tiny.inverter/summary.all",
        "tiny.summary_style.miniature",
    }
    (output,) = inverted["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 64
    assert [field["name"] for field in output["facets"]["schema"]["fields"]][:2] == ["prompt_id", "request_key"]
    assert output["facets"]["dataQualityAssertions"]["assertions"][0]["success"] is True
    versions = {one["name"]: one["facets"]["version"]["datasetVersion"] for one in inverted["inputs"]}
    outputs = by_job["tiny.target_outputs"]["outputs"][0]["facets"]["version"]["datasetVersion"]
    assert versions["tiny.target_outputs.miniature"] == outputs
