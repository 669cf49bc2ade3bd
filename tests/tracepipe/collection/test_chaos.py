"""Random faults and kills: one row per prompt, nothing kept is lost, nothing is asked twice but what was under way."""

from pathlib import Path

from tests.chaos import CONCURRENCY, run_chaos


def test_a_collector_killed_again_and_again_ends_with_every_row_once_and_books_that_agree(tmp_path: Path):
    figures = run_chaos(tmp_path, prompts=300, kills=4).figures()
    assert figures["rows"] == figures["distinct_prompts"] == 300
    assert figures["kills"] == 4
    assert figures["rows_with_another_outcome_than_answered"] == 0
    assert figures["requests_answered_twice"] <= figures["under_way_at_kills"] <= 4 * CONCURRENCY
    assert figures["longest_of_these_before_the_kill_s"] < 1
    assert figures["billed_requests_unknown_to_the_ledger"] == 0
    assert figures["known_costs_that_differ"] == 0
    assert figures["possible_costs_too_low"] == 0
    known_by_server = figures["server_usd"] - figures["server_usd_of_what_the_ledger_holds_possible"]
    assert abs(known_by_server - figures["ledger_known_usd"]) < 1e-5
