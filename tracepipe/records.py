"""The tables: names, columns, types and meaning. Every frame that is stored fits one of these."""

from dataclasses import dataclass
from typing import Any

import polars as pl

STAGES = ("prompts", "surrogate", "inverter", "target", "withheld", "inversion", "students", "benchmarks", "report")
"""The stages of the pipeline, in order."""

OUTCOMES = ("ok", "truncated", "refused", "empty_answer", "empty_summary", "parse_error", "api_error")


@dataclass(frozen=True)
class Column:
    """One column: its type and what it holds, units included."""

    dtype: pl.DataType
    meaning: str


Table = dict[str, Column]

_TEXT, _INT, _FLOAT, _BOOL = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()

_PROMPT_ID = Column(_TEXT, "identity of the prompt: hash of its normalised text")
_REQUEST_KEY = Column(_TEXT, "identity of the model call that wrote this row")
_OUTCOME = Column(_TEXT, "one of: " + ", ".join(OUTCOMES))
_REASON = Column(_TEXT, "why the outcome is not ok; null where it is")
_TOKENS_IN = Column(_INT, "tokens of the request")
_TOKENS_OUT = Column(_INT, "tokens written, hidden reasoning included")

PROMPTS: Table = {
    "prompt_id": _PROMPT_ID,
    "prompt": Column(_TEXT, "the problem as a model is asked it"),
    "split": Column(_TEXT, "surrogate or target: who answers it"),
    "source": Column(_TEXT, "where the prompt comes from"),
    "domain": Column(_TEXT, "subject, where the source names one"),
}

REJECTED_PROMPTS: Table = {
    "line": Column(_INT, "1-based line of a JSONL file, or row number"),
    "reason": Column(_TEXT, "why the row could not be used"),
}

CONTAMINATED_PROMPTS: Table = {
    "prompt_id": _PROMPT_ID,
    "prompt": Column(_TEXT, "the prompt that was left out"),
    "item_id": Column(_TEXT, "the benchmark item it is too close to"),
    "benchmark": Column(_TEXT, "name in the study"),
    "rule": Column(_TEXT, "exact, ngram, cover or fuzzy: the first that matched"),
    "score": Column(_FLOAT, "exact: 100; ngram: shared n-grams; cover: % of the item's words; fuzzy: similarity, %"),
    "shared": Column(_TEXT, "what both have: the longest run of shared words; null for exact and fuzzy"),
}

BENCHMARK_ITEMS: Table = {
    "item_id": Column(_TEXT, "identity of the item: benchmark name and prompt identity"),
    "benchmark": Column(_TEXT, "name in the study"),
    "protocol": Column(_TEXT, "how it is asked and graded"),
    "key": Column(_TEXT, "the item's own id in its benchmark"),
    "prompt_id": Column(_TEXT, "identity of the problem: hash of its normalised text"),
    "problem": Column(_TEXT, "the problem without instructions"),
    "prompt": Column(_TEXT, "the problem as a model is asked it"),
    "gold": Column(_TEXT, "the correct answer; empty where tests decide"),
    "kind": Column(_TEXT, "type of the question, where the benchmark has several"),
    "cluster": Column(_TEXT, "what it shares a source with, such as an exam paper"),
    "tests": Column(_TEXT, "for code: what decides instead of a gold answer, JSON"),
    "source": Column(_TEXT, "file or hub id"),
    "licence": Column(_TEXT, "of the item"),
}

CHAT_TEMPLATES: Table = {
    "role": Column(_TEXT, "surrogate, compressor, inverter or student"),
    "model": Column(_TEXT, "its model, as the study names it"),
    "thinking": Column(_BOOL, "how the study sets the template's switch; null where it does not"),
    "opening": Column(_TEXT, "the think block when the model begins to write: none, open or closed"),
    "opens_with": Column(_TEXT, "the tag that the template writes for the model"),
    "has_switch": Column(_BOOL, "whether the template renders differently with thinking on and off"),
    "keeps_traces": Column(_BOOL, "whether an assistant's message keeps its trace when it passes through the template"),
    "end_token": Column(_TEXT, "the tokenizer's end of text"),
    "ends_as_template": Column(_BOOL, "whether the template puts that token behind an assistant's message"),
    "template": Column(_TEXT, "hash of the template"),
    "faults": Column(pl.List(pl.String), "render gates that an example of a trained role would fail"),
}

SURROGATE_TRACES: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "trace": Column(_TEXT, "the surrogate's visible trace t'"),
    "answer": Column(_TEXT, "the surrogate's answer y'"),
    "outcome": _OUTCOME,
    "reason": _REASON,
    "input_tokens": _TOKENS_IN,
    "output_tokens": _TOKENS_OUT,
}

SURROGATE_SUMMARIES: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "summary": Column(_TEXT, "target-style summary b' of the surrogate's trace"),
    "outcome": _OUTCOME,
    "reason": _REASON,
}

EXAMPLES: Table = {
    "example_id": Column(_TEXT, "identity of the training example: what it is for and the rows it comes from"),
    "condition": Column(_TEXT, "the exposure of an inverter example, the condition of a student example"),
    "prompt_id": _PROMPT_ID,
    "request_key": Column(_TEXT, "the model call that wrote the trace, or the answer where there is no trace"),
    "prompt": Column(_TEXT, "the user message"),
    "trace": Column(_TEXT, "the trace inside the completion; null where the condition has none"),
    "completion": Column(_TEXT, "what the model learns to write"),
}

TARGET_OUTPUTS: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "response_id": Column(_TEXT, "the provider's name for the response"),
    "model": Column(_TEXT, "the model the provider says answered"),
    "answer": Column(_TEXT, "the visible answer y"),
    "summary": Column(_TEXT, "the visible reasoning summary b; null where none is exposed"),
    "outcome": _OUTCOME,
    "reason": _REASON,
    "input_tokens": _TOKENS_IN,
    "output_tokens": _TOKENS_OUT,
    "reasoning_tokens": Column(_INT, "hidden reasoning tokens, billed as output"),
    "cost_usd": Column(_FLOAT, "price of this row's response, USD; null where it does not say what it used"),
    "offset": Column(_INT, "where its line begins in responses/<target>.jsonl, bytes; null where it has none yet"),
}

DEAD_LETTERS: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "prompt": Column(_TEXT, "the problem"),
    "outcome": _OUTCOME,
    "reason": _REASON,
    "cost_usd": Column(_FLOAT, "price of this row's response, USD; null where it does not say what it used"),
    "attempts": Column(_INT, "how often it was asked"),
    "journal": Column(_TEXT, "file under responses/ that holds the raw response, or the error"),
    "offset": Column(_INT, "where its line begins in that file, bytes; null where it was never answered"),
}

TARGET_ATTEMPTS: Table = {
    "attempt": Column(_TEXT, "request key and number of the attempt; sent along as X-Client-Request-Id"),
    "request_key": _REQUEST_KEY,
    "begun_at": Column(_TEXT, "when it was recorded, just before it was sent; UTC"),
    "delivery": Column(_TEXT, "live or batch"),
    "result": Column(_TEXT, "answered, failed, or unknown where the process died meanwhile"),
    "reason": Column(_TEXT, "why it failed"),
    "seconds": Column(_FLOAT, "how long a live answer took"),
    "cost_usd": Column(_FLOAT, "what it cost, USD; null where that is not known"),
    "possible_usd": Column(_FLOAT, "what it may have cost at most beyond cost_usd: timed out, or result unknown"),
}

SUMMARY_STYLE: Table = {
    "side": Column(_TEXT, "target, or compressor: who wrote the summaries"),
    "summaries": Column(_INT, "how many"),
    "median_tokens": Column(_FLOAT, "median length in the inverter's tokens"),
    "bold_header": Column(_FLOAT, "summaries with a line that is a bold header, %"),
    "first_person": Column(_FLOAT, "summaries with first-person prose, %"),
    "latex": Column(_FLOAT, "summaries with LaTeX, %"),
    "compression": Column(_FLOAT, "trace tokens over summary tokens; the target's as billed, null where it bills none"),
}

TARGET_CHANGES: Table = {
    "against": Column(_TEXT, "the earlier revision, a partition of this target"),
    "measure": Column(_TEXT, "what is compared, over the prompts that both answered"),
    "before": Column(_FLOAT, "in the earlier revision"),
    "after": Column(_FLOAT, "in this one"),
    "rows": Column(_INT, "prompts compared"),
}

TARGET_TRACES: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "trace": Column(_TEXT, "the open target's hidden trace t"),
}

INVERTED_TRACES: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "checkpoint_id": Column(_TEXT, "the inverter that wrote it"),
    "inverted_trace": Column(_TEXT, "the synthesised trace"),
    "outcome": _OUTCOME,
    "reason": _REASON,
    "input_tokens": _TOKENS_IN,
    "output_tokens": _TOKENS_OUT,
}

TRACE_FIDELITY: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "inverter": Column(_TEXT, "trained, or zero_shot: the inverter's base without training"),
    "words": Column(_TEXT, "how NLTK's words were found: one_line or sentences; the paper's code splits sentences"),
    "bleu": Column(_FLOAT, "NLTK sentence BLEU with smoothing method 3, x100"),
    "token_f1": Column(_FLOAT, "token F1 over the sets of NLTK words, x100"),
    "rouge1": Column(_FLOAT, "ROUGE-1 F-measure with stemming, x100"),
    "rouge2": Column(_FLOAT, "ROUGE-2 F-measure with stemming, x100"),
    "rougeL": Column(_FLOAT, "ROUGE-L F-measure with stemming, x100"),
    "reference_tokens": Column(_INT, "length of the real trace in the student's tokens"),
    "synthesized_tokens": Column(_INT, "length of the inverted trace in the student's tokens"),
    "length_recovery": Column(_FLOAT, "synthesized_tokens / reference_tokens"),
}

TRACE_CONSISTENCY: Table = {
    "prompt_id": _PROMPT_ID,
    "request_key": _REQUEST_KEY,
    "trace_answer": Column(_TEXT, "the answer the trace arrives at; null where it states none"),
    "rule": Column(_TEXT, "how it was read: boxed, phrase, ending, or none"),
    "attached_answer": Column(_TEXT, "the answer in the target's visible text"),
    "agrees": Column(_BOOL, "whether the two mean the same; null where one is missing or none was found in time"),
    "looped": Column(_BOOL, "whether the trace ends in a repetition"),
    "contradicts_itself": Column(_BOOL, "whether it boxes two different answers"),
    "summary_facts": Column(_INT, "distinct numbers and formulas in the target's summary; null without a summary"),
    "facts_kept": Column(_FLOAT, "share of these that stand in the trace, 0 to 1"),
}

CHECKPOINTS: Table = {
    "checkpoint_id": Column(_TEXT, "hash of base weights, dataset, recipe, seed and code version"),
    "role": Column(_TEXT, "inverter/<exposure> or student/<condition>"),
    "seed": Column(_INT, "training seed as named in the study; null for the untrained base"),
    "base_weights": Column(_TEXT, "identity of the weights training began from"),
    "dataset_hash": Column(_TEXT, "content hash of the training examples; null for the untrained base"),
    "recipe_hash": Column(_TEXT, "hash of the recipe; null for the untrained base"),
    "weights": Column(_TEXT, "identity of the resulting weights"),
    "examples": Column(_INT, "training examples"),
    "losses": Column(pl.List(_FLOAT), "training loss, one value per logging interval"),
}

BENCHMARK_ANSWERS: Table = {
    "request_key": _REQUEST_KEY,
    "item_id": Column(_TEXT, "the benchmark item answered"),
    "benchmark": Column(_TEXT, "name in the study"),
    "condition": Column(_TEXT, "the student's condition"),
    "seed": Column(_INT, "training seed; null for the untrained base"),
    "sample": Column(_INT, "number of the draw, from 0"),
    "checkpoint_id": Column(_TEXT, "the student that answered"),
    "response": Column(_TEXT, "everything the student wrote"),
    "finish_reason": Column(_TEXT, "stop, or length where the token cap cut it off"),
    "input_tokens": _TOKENS_IN,
    "output_tokens": _TOKENS_OUT,
}

BENCHMARK_SCORES: Table = {
    "request_key": _REQUEST_KEY,
    "item_id": Column(_TEXT, "the benchmark item graded"),
    "benchmark": Column(_TEXT, "name in the study"),
    "condition": Column(_TEXT, "the student's condition"),
    "seed": Column(_INT, "training seed; null for the untrained base"),
    "sample": Column(_INT, "number of the draw, from 0"),
    "cluster": Column(_TEXT, "what the item shares a source with"),
    "gold": Column(_TEXT, "the correct answer"),
    "extracted": Column(_TEXT, "the answer as the official protocol reads it; null where there is none"),
    "rule": Column(_TEXT, "which rule of extraction fired, or why there is no answer"),
    "score": Column(_FLOAT, "by the official scorer, 0 to 1"),
    "outcome": Column(_TEXT, "correct, partial, wrong, no_answer or timeout"),
    "fair_extracted": Column(_TEXT, "the answer as the fairer scorer reads it"),
    "fair_rule": Column(_TEXT, "which rule fired there"),
    "fair_score": Column(_FLOAT, "by the fairer scorer, 0 to 1"),
    "fair_outcome": Column(_TEXT, "its outcome"),
    "truncated": Column(_BOOL, "whether the token cap cut the response off"),
    "looped": Column(_BOOL, "whether the response ends in a repetition"),
}

COMPARISON: Table = {
    "benchmark": Column(_TEXT, "name in the study"),
    "condition": Column(_TEXT, "in the study's order"),
    "accuracy": Column(_FLOAT, "mean official score over items, samples and seeds, %"),
    "low": Column(_FLOAT, "lower end of the 95 % interval over items, %"),
    "high": Column(_FLOAT, "upper end of the 95 % interval over items, %"),
    "seed_low": Column(_FLOAT, "lowest accuracy of a training seed, %"),
    "seed_high": Column(_FLOAT, "highest accuracy of a training seed, %"),
    "exact_rate": Column(_FLOAT, "responses that score 1, %; less than the accuracy where there is partial credit"),
    "truncation_rate": Column(_FLOAT, "responses cut off at the token cap, %"),
    "no_answer_rate": Column(_FLOAT, "responses without an answer, %"),
    "loop_rate": Column(_FLOAT, "responses that end in a repetition, %"),
    "timeout_rate": Column(_FLOAT, "responses whose grading was given up, %"),
    "fair_accuracy": Column(_FLOAT, "mean score by the fairer scorer, %"),
    "fair_low": Column(_FLOAT, "lower end of its 95 % interval over items, %"),
    "fair_high": Column(_FLOAT, "upper end, %"),
    "items": Column(_INT, "benchmark items"),
    "clusters": Column(_INT, "groups of items that share a source; as many as items where none do"),
    "samples": Column(_INT, "answers per item and student"),
    "seeds": Column(_INT, "training seeds; 0 for the untrained base"),
    "training_rows": Column(_INT, "examples each student was trained on"),
}

DIFFERENCES: Table = {
    "benchmark": Column(_TEXT, "name in the study"),
    "condition": Column(_TEXT, "the later condition of the pair"),
    "against": Column(_TEXT, "the earlier one"),
    "difference": Column(_FLOAT, "accuracy of condition less that of against, paired by item, percentage points"),
    "low": Column(_FLOAT, "lower end of its 95 % interval over items, clustered, percentage points"),
    "high": Column(_FLOAT, "upper end"),
    "bootstrap_low": Column(_FLOAT, "lower end by resampling clusters 2,000 times, percentage points"),
    "bootstrap_high": Column(_FLOAT, "upper end"),
    "p": Column(_FLOAT, "of no difference, two-sided t test"),
    "p_holm": Column(_FLOAT, "adjusted for all pairs of the benchmark (Holm)"),
    "resolved": Column(_BOOL, "whether p_holm is below 0.05"),
    "mcnemar_p": Column(_FLOAT, "exact McNemar test; null unless each side scored every item once, 0 or 1"),
    "seed_low": Column(_FLOAT, "smallest difference over pairs of training seeds; null without several seeds"),
    "seed_high": Column(_FLOAT, "largest one"),
    "items": Column(_INT, "items both sides answered"),
}

FILES: Table = {
    "path": Column(_TEXT, "where the file lies"),
    "format": Column(_TEXT, "html or markdown"),
    "bytes": Column(_INT, "its size"),
}


def schema(table: Table) -> pl.Schema:
    """Return the polars schema of a table."""
    return pl.Schema({name: column.dtype for name, column in table.items()})


def empty(table: Table) -> pl.DataFrame:
    """Return the table without rows."""
    return pl.DataFrame(schema=schema(table))


def from_rows(rows: list[dict[str, Any]], table: Table) -> pl.DataFrame:
    """Return rows, each with exactly the table's columns, as that table; no rows make it empty.

    Raises:
        ValueError: If a column is missing or unknown in the first row; names it.
    """
    if rows:
        conform(pl.DataFrame(rows[:1]), table)
    return pl.DataFrame(rows, schema=schema(table), strict=False)


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return the frame with exactly the table's columns, in order and type.

    Raises:
        ValueError: If a column is missing or unknown, or does not cast; names it.
    """
    missing, unknown = table.keys() - set(frame.columns), set(frame.columns) - table.keys()
    if missing or unknown:
        raise ValueError(f"frame does not fit its table: missing {sorted(missing)}, unknown {sorted(unknown)}")
    return frame.select(pl.col(name).cast(column.dtype) for name, column in table.items())
