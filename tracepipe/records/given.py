"""What goes in: prompts, items, the surrogate's side, training rows, and what the target shows."""

import polars as pl

from tracepipe.records.columns import (
    BOOL,
    FLOAT,
    INT,
    OUTCOME,
    PROMPT_ID,
    REASON,
    REQUEST_KEY,
    TEXT,
    TOKENS_IN,
    TOKENS_OUT,
    Column,
    Table,
)

PROMPTS: Table = {
    "prompt_id": PROMPT_ID,
    "prompt": Column(TEXT, "the problem as a model is asked it"),
    "split": Column(TEXT, "surrogate or target: who answers it"),
    "source": Column(TEXT, "where the prompt comes from"),
    "domain": Column(TEXT, "subject, where the source names one"),
}

REJECTED_PROMPTS: Table = {
    "line": Column(INT, "1-based line of a JSONL file, or row number"),
    "reason": Column(TEXT, "why the row could not be used"),
}

CONTAMINATED_PROMPTS: Table = {
    "prompt_id": PROMPT_ID,
    "prompt": Column(TEXT, "the prompt that was left out"),
    "item_id": Column(TEXT, "the benchmark item it is too close to"),
    "benchmark": Column(TEXT, "name in the study"),
    "rule": Column(TEXT, "exact, ngram, cover or fuzzy: the first that matched"),
    "score": Column(FLOAT, "exact: 100; ngram: shared n-grams; cover: % of the item's words; fuzzy: similarity, %"),
    "shared": Column(TEXT, "what both have: the longest run of shared words; null for exact and fuzzy"),
}

BENCHMARK_ITEMS: Table = {
    "item_id": Column(TEXT, "identity of the item: benchmark name and prompt identity"),
    "benchmark": Column(TEXT, "name in the study"),
    "protocol": Column(TEXT, "how it is asked and graded"),
    "key": Column(TEXT, "the item's own id in its benchmark"),
    "prompt_id": Column(TEXT, "identity of the problem: hash of its normalised text"),
    "problem": Column(TEXT, "the problem without instructions"),
    "prompt": Column(TEXT, "the problem as a model is asked it"),
    "gold": Column(TEXT, "the correct answer; empty where tests decide"),
    "kind": Column(TEXT, "type of the question, where the benchmark has several"),
    "cluster": Column(TEXT, "what it shares a source with, such as an exam paper"),
    "tests": Column(TEXT, "for code: what decides instead of a gold answer, JSON"),
    "source": Column(TEXT, "file or hub id"),
    "licence": Column(TEXT, "of the item"),
}

CHAT_TEMPLATES: Table = {
    "role": Column(TEXT, "surrogate, compressor, inverter, student, or the name of a policy that a model writes"),
    "model": Column(TEXT, "its model, as the study names it"),
    "thinking": Column(BOOL, "how the study sets the template's switch; null where it does not"),
    "opening": Column(TEXT, "the think block when the model begins to write: none, open or closed"),
    "opens_with": Column(TEXT, "the tag that the template writes for the model"),
    "has_switch": Column(BOOL, "whether the template renders differently with thinking on and off"),
    "keeps_traces": Column(BOOL, "whether an assistant's message keeps its trace when it passes through the template"),
    "end_token": Column(TEXT, "the tokenizer's end of text"),
    "ends_as_template": Column(BOOL, "whether the template puts that token behind an assistant's message"),
    "template": Column(TEXT, "hash of the template"),
    "faults": Column(pl.List(pl.String), "render gates that an example of a trained role would fail"),
}

SURROGATE_TRACES: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "trace": Column(TEXT, "the surrogate's visible trace t'"),
    "answer": Column(TEXT, "the surrogate's answer y'"),
    "outcome": OUTCOME,
    "reason": REASON,
    "input_tokens": TOKENS_IN,
    "output_tokens": TOKENS_OUT,
}

SURROGATE_SUMMARIES: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "summary": Column(TEXT, "target-style summary b' of the surrogate's trace"),
    "outcome": OUTCOME,
    "reason": REASON,
}

EXPOSED: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": Column(TEXT, "identity of what wrote the text: a call of a model, or a function of another text"),
    "summary": Column(TEXT, "the text shown under this policy; it may be empty"),
    "outcome": OUTCOME,
    "reason": REASON,
}

EXAMPLES: Table = {
    "example_id": Column(TEXT, "identity of the training example: what it is for and the rows it comes from"),
    "condition": Column(TEXT, "the exposure of an inverter example, the condition of a student example"),
    "prompt_id": PROMPT_ID,
    "request_key": Column(TEXT, "the model call that wrote the trace, or the answer where there is no trace"),
    "prompt": Column(TEXT, "the user message"),
    "trace": Column(TEXT, "the trace inside the completion; null where the condition has none"),
    "completion": Column(TEXT, "what the model learns to write"),
    "phase": Column(INT, "training takes the rows of one phase after those of the one before; all 0 where they mix"),
}

TARGET_OUTPUTS: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "response_id": Column(TEXT, "the provider's name for the response"),
    "model": Column(TEXT, "the model the provider says answered"),
    "answer": Column(TEXT, "the visible answer y"),
    "summary": Column(TEXT, "the visible reasoning summary b; null where none is exposed"),
    "outcome": OUTCOME,
    "reason": REASON,
    "input_tokens": TOKENS_IN,
    "output_tokens": TOKENS_OUT,
    "reasoning_tokens": Column(INT, "hidden reasoning tokens, billed as output"),
    "cost_usd": Column(FLOAT, "price of this row's response, USD; null where it does not say what it used"),
    "offset": Column(INT, "where its line begins in responses/<target>.jsonl, bytes; null where it has none yet"),
}

DEAD_LETTERS: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "prompt": Column(TEXT, "the problem"),
    "outcome": OUTCOME,
    "reason": REASON,
    "cost_usd": Column(FLOAT, "price of this row's response, USD; null where it does not say what it used"),
    "attempts": Column(INT, "how often it was asked"),
    "journal": Column(TEXT, "file under responses/ that holds the raw response, or the error"),
    "offset": Column(INT, "where its line begins in that file, bytes; null where it was never answered"),
}

TARGET_ATTEMPTS: Table = {
    "attempt": Column(TEXT, "request key and number of the attempt; sent along as X-Client-Request-Id"),
    "request_key": REQUEST_KEY,
    "begun_at": Column(TEXT, "when it was recorded, just before it was sent; UTC"),
    "delivery": Column(TEXT, "live or batch"),
    "result": Column(TEXT, "answered, failed, or unknown where the process died meanwhile"),
    "reason": Column(TEXT, "why it failed"),
    "seconds": Column(FLOAT, "how long a live answer took"),
    "cost_usd": Column(FLOAT, "what it cost, USD; null where that is not known"),
    "possible_usd": Column(FLOAT, "what it may have cost at most beyond cost_usd: timed out, or result unknown"),
}

SUMMARY_STYLE: Table = {
    "side": Column(TEXT, "target, or compressor: who wrote the summaries"),
    "summaries": Column(INT, "how many"),
    "median_tokens": Column(FLOAT, "median length in the inverter's tokens"),
    "bold_header": Column(FLOAT, "summaries with a line that is a bold header, %"),
    "first_person": Column(FLOAT, "summaries with first-person prose, %"),
    "latex": Column(FLOAT, "summaries with LaTeX, %"),
    "compression": Column(FLOAT, "trace tokens over summary tokens; the target's as billed, null where it bills none"),
}

TARGET_CHANGES: Table = {
    "against": Column(TEXT, "the earlier revision, a partition of this target"),
    "measure": Column(TEXT, "what is compared, over the prompts that both answered"),
    "before": Column(FLOAT, "in the earlier revision"),
    "after": Column(FLOAT, "in this one"),
    "rows": Column(INT, "prompts compared"),
}

TARGET_TRACES: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "trace": Column(TEXT, "the open target's hidden trace t"),
}
