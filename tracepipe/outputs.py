"""Read a target's journal: one row per prompt, what is unusable, every attempt and its cost. Repeatable at will."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tracepipe.books import Books, Pending
from tracepipe.engines.base import request_of
from tracepipe.engines.reading import read, usage_of
from tracepipe.gates import Gate, ids_preserved, no_columns, none_fail
from tracepipe.journal import Journal
from tracepipe.records import DEAD_LETTERS, TARGET_ATTEMPTS, TARGET_OUTPUTS, TARGET_TRACES, conform, empty, from_rows
from tracepipe.target import Target

USABLE = ("ok", "empty_summary")
"""Outcomes whose answer can be used; one without a summary serves the exposure `answer` alone."""

_ROWS_AT_ONCE = 2000


def read_outputs(prompts: pl.DataFrame, target: Target, journal: Journal) -> pl.DataFrame:
    """Read what came of the given prompts.

    Returns:
        TARGET_OUTPUTS, one row per prompt, in the order of the prompts.
    """
    return read_rows(prompts, target, journal, Books.of(journal))


def read_rows(prompts: pl.DataFrame, target: Target, journal: Journal, books: Books) -> pl.DataFrame:
    """Read what came of the given prompts, as `read_outputs`, from books already added up."""
    slices = prompts.select("prompt_id", "prompt").iter_slices(_ROWS_AT_ONCE)
    frames = [from_rows(list(_rows(part, target, journal, books)), TARGET_OUTPUTS) for part in slices]
    return pl.concat(frames) if frames else empty(TARGET_OUTPUTS)


def _rows(prompts: pl.DataFrame, target: Target, journal: Journal, books: Books) -> Iterator[dict[str, Any]]:
    for prompt_id, prompt in prompts.iter_rows():
        key = request_of(target, prompt).key
        yield {"prompt_id": prompt_id, "request_key": key} | _row(key, target, journal, books)


def _row(key: str, target: Target, journal: Journal, books: Books) -> dict[str, Any]:
    account = books.accounts.get(key)
    row: dict[str, Any] = dict.fromkeys(("response_id", "model", "answer", "summary", "cost_usd", "offset"))
    row |= {"input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0}
    if account and account.response:
        (entry,) = journal.at([account.response.offset])
        reading = read(target, entry["body"])
        for name in ("response_id", "model", "answer", "summary", "outcome", "reason"):
            row[name] = getattr(reading, name)
        if reading.usage:
            row |= {name: getattr(reading.usage, name) for name in reading.usage.__slots__}
        return row | {"cost_usd": account.response.cost_usd, "offset": account.response.offset}
    if account and account.failure:
        (entry,) = journal.at([account.failure.offset])
        failed = {"outcome": entry["outcome"], "reason": entry["reason"], "cost_usd": 0.0}
        return row | failed | {"offset": account.failure.offset}
    return row | {"outcome": "api_error", "reason": "not answered yet", "cost_usd": 0.0}


def dead_letters(prompts: pl.DataFrame, outputs: pl.DataFrame, journal: Journal) -> pl.DataFrame:
    """List the rows that are not `ok`, with where their raw response lies.

    Args:
        prompts: `prompt_id, prompt`.
        outputs: TARGET_OUTPUTS.
        journal: The target's journal.

    Returns:
        DEAD_LETTERS.
    """
    books = Books.of(journal)
    rows = []
    for row in (
        outputs.filter(pl.col("outcome") != "ok").join(prompts, on="prompt_id", how="left").iter_rows(named=True)
    ):
        account = books.accounts.get(row["request_key"])
        last = (account.response or account.failure) if account else None
        rows.append(
            {name: row[name] for name in ("prompt_id", "request_key", "prompt", "outcome", "reason", "cost_usd")}
            | {
                "attempts": account.attempts if account else 0,
                "journal": journal.path.name,
                "offset": last.offset if last else None,
            }
        )
    return from_rows(rows, DEAD_LETTERS)


def read_attempts(outputs: pl.DataFrame, journal: Journal) -> pl.DataFrame:
    """List every attempt that was made for the given rows: the account of what was spent on them.

    Args:
        outputs: TARGET_OUTPUTS.
        journal: The target's journal.

    Returns:
        TARGET_ATTEMPTS, in the order in which they were begun.
    """
    wanted = set(outputs["request_key"])
    rows: dict[str, dict[str, Any]] = {}
    prices: dict[str, Pending] = {}
    for entry in journal.entries():
        attempt = entry.get("attempt")
        if entry.get("request_key") not in wanted or attempt is None:
            continue
        if attempt not in rows:
            prices[attempt] = Pending.of(entry)
            rows[attempt] = _begun(entry)
        elif rows[attempt]["result"] == "unknown" and entry["kind"] != "attempt":
            rows[attempt] |= _ended(entry, prices.pop(attempt))
    return from_rows(list(rows.values()), TARGET_ATTEMPTS)


def _begun(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {name: entry[name] for name in ("attempt", "request_key", "delivery")}
    unknown = dict.fromkeys(("reason", "seconds", "cost_usd"))
    return kept | unknown | {"begun_at": entry["at"], "result": "unknown", "possible_usd": entry["worst_usd"]}


def _ended(entry: dict[str, Any], pending: Pending) -> dict[str, Any]:
    if entry["kind"] == "failure":
        costs = {"cost_usd": None if entry["possible_usd"] else 0.0, "possible_usd": entry["possible_usd"]}
        return costs | {"result": "failed", "reason": entry["reason"]}
    usage = usage_of(entry["body"])
    costs = {"cost_usd": pending.cost(usage), "possible_usd": 0.0} if usage else {}
    return costs | {"result": "answered", "seconds": entry["seconds"]}


def output_gates(prompts: pl.DataFrame, outputs: pl.DataFrame) -> list[Gate]:
    """Every prompt has one row, answers were given at all, and nothing hidden came along."""
    unusable = outputs.filter(~pl.col("outcome").is_in(USABLE))
    flooded = unusable["prompt_id"].to_list() if unusable.height * 2 > outputs.height else []
    return [
        ids_preserved("one_row_per_prompt", prompts["prompt_id"], outputs["prompt_id"]),
        none_fail("most_rows_usable", flooded, f"of {outputs.height} rows unusable where more than half are"),
        no_columns("no_trace_column", {"target_outputs": outputs.columns}, {"trace", "inverted_trace"}),
    ]


def read_traces(outputs: pl.DataFrame, trace_log: Journal) -> pl.DataFrame:
    """Match an open target's logged traces with its outputs, by response id.

    Returns:
        TARGET_TRACES, one row per output that was answered.
    """
    logged = {entry["response_id"]: entry["trace"] for entry in trace_log.entries() if entry["trace"].strip()}
    answered = outputs.filter(pl.col("response_id").is_not_null())
    if not answered.height:
        return empty(TARGET_TRACES)
    traces = pl.Series("trace", [logged.get(response) for response in answered["response_id"]], dtype=pl.String)
    return conform(answered.select("prompt_id", "request_key").with_columns(traces).drop_nulls("trace"), TARGET_TRACES)


def trace_gates(outputs: pl.DataFrame, traces: pl.DataFrame) -> list[Gate]:
    """Every usable answer of an open target has its trace, and shows it neither in the answer nor in the summary."""
    usable = outputs.filter(pl.col("outcome").is_in(USABLE))["prompt_id"]
    missing = set(usable) - set(traces["prompt_id"])
    both = outputs.join(traces.select("prompt_id", "trace"), on="prompt_id", validate="1:1")
    shown = pl.concat_str(pl.col("answer", "summary").fill_null(""), separator="\n")
    leaked = both.filter(shown.str.contains(pl.col("trace"), literal=True))["prompt_id"]
    return [
        none_fail("every_answer_has_its_trace", missing, f"of {len(usable)} usable answers have no logged trace"),
        none_fail("traces_stay_hidden", leaked, f"of {both.height} outputs show their whole trace"),
    ]
