"""What comes out: inverted traces, checkpoints, scores, comparisons."""

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

INVERTED_TRACES: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "checkpoint_id": Column(TEXT, "the inverter that wrote it"),
    "inverted_trace": Column(TEXT, "the synthesised trace"),
    "outcome": OUTCOME,
    "reason": REASON,
    "input_tokens": TOKENS_IN,
    "output_tokens": TOKENS_OUT,
}

TRACE_DRAWS: Table = {
    **INVERTED_TRACES,
    "draw": Column(INT, "number of the draw, from 0; draw 0 is the row's inverted trace without selection"),
    "terminates": Column(BOOL, "whether it ended before the token cap and holds one trace"),
    "no_loop": Column(BOOL, "whether it does not end in a repetition"),
    "agrees": Column(BOOL, "whether it arrives at the answer it is attached to; no verdict counts as no"),
    "no_quote": Column(BOOL, "whether it does not speak of an answer that it was given"),
    "tokens": Column(INT, "its length in the inverter's tokens"),
    "predicted_tokens": Column(FLOAT, "the length that the surrogate's rows predict from what is shown"),
    "consistency": Column(FLOAT, "mean token overlap with the row's other draws, 0 to 1; null for a single one"),
    "likelihood": Column(FLOAT, "mean log probability of its tokens under the inverter; null where not needed"),
    "plausibility": Column(
        FLOAT, "mean log probability of trace and answer under the surrogate, given the prompt; null where not needed"
    ),
}

SELECTED_TRACES: Table = {
    "prompt_id": PROMPT_ID,
    "selection": Column(TEXT, "selected, or the name of a further selection of the study"),
    "request_key": Column(TEXT, "the draw that was taken; null where none survived"),
    "draw": Column(INT, "its number"),
    "inverted_trace": Column(TEXT, "its trace"),
    "survivors": Column(INT, "draws that passed every rule"),
    "draws": Column(INT, "draws there were"),
    "lost_to": Column(TEXT, "the rule, in their order, that left no draw; null where one was taken"),
}

ROW_SET: Table = {
    "prompt_id": PROMPT_ID,
    "used": Column(BOOL, "whether the row stands in every condition on the target's side"),
    "lost_to": Column(TEXT, "the table and the outcome or rule that took it from all of them; null where it is used"),
    "query": Column(INT, "place of the prompt in the order in which budgets count queries, from 0"),
}

TRACE_FIDELITY: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "inverter": Column(TEXT, "trained, or zero_shot: the inverter's base without training"),
    "words": Column(TEXT, "how NLTK's words were found: one_line or sentences; the paper's code splits sentences"),
    "bleu": Column(FLOAT, "NLTK sentence BLEU with smoothing method 3, x100"),
    "token_f1": Column(FLOAT, "token F1 over the sets of NLTK words, x100"),
    "rouge1": Column(FLOAT, "ROUGE-1 F-measure with stemming, x100"),
    "rouge2": Column(FLOAT, "ROUGE-2 F-measure with stemming, x100"),
    "rougeL": Column(FLOAT, "ROUGE-L F-measure with stemming, x100"),
    "reference_tokens": Column(INT, "length of the real trace in the student's tokens"),
    "synthesized_tokens": Column(INT, "length of the inverted trace in the student's tokens"),
    "length_recovery": Column(FLOAT, "synthesized_tokens / reference_tokens"),
}

TRACE_CONSISTENCY: Table = {
    "prompt_id": PROMPT_ID,
    "request_key": REQUEST_KEY,
    "trace_answer": Column(TEXT, "the answer the trace arrives at; null where it states none"),
    "rule": Column(TEXT, "how it was read: boxed, phrase, ending, or none"),
    "attached_answer": Column(TEXT, "the answer in the target's visible text"),
    "agrees": Column(BOOL, "whether the two mean the same; null where one is missing or none was found in time"),
    "looped": Column(BOOL, "whether the trace ends in a repetition"),
    "contradicts_itself": Column(BOOL, "whether it boxes two different answers"),
    "summary_facts": Column(INT, "distinct numbers and formulas in the target's summary; null without a summary"),
    "facts_kept": Column(FLOAT, "share of these that stand in the trace, 0 to 1"),
}

CHECKPOINTS: Table = {
    "checkpoint_id": Column(TEXT, "hash of base weights, dataset, recipe, seed and code version"),
    "role": Column(TEXT, "inverter/<exposure> or student/<condition>"),
    "seed": Column(INT, "training seed as named in the study; null for the untrained base"),
    "base_weights": Column(TEXT, "identity of the weights training began from"),
    "dataset_hash": Column(TEXT, "content hash of the training examples; null for the untrained base"),
    "recipe_hash": Column(TEXT, "hash of the recipe; null for the untrained base"),
    "weights": Column(TEXT, "identity of the resulting weights"),
    "examples": Column(INT, "training examples"),
    "losses": Column(pl.List(FLOAT), "training loss, one value per logging interval"),
}

BENCHMARK_ANSWERS: Table = {
    "request_key": REQUEST_KEY,
    "item_id": Column(TEXT, "the benchmark item answered"),
    "benchmark": Column(TEXT, "name in the study"),
    "condition": Column(TEXT, "the student's condition"),
    "seed": Column(INT, "training seed; null for the untrained base"),
    "sample": Column(INT, "number of the draw, from 0"),
    "checkpoint_id": Column(TEXT, "the student that answered"),
    "response": Column(TEXT, "everything the student wrote"),
    "finish_reason": Column(TEXT, "stop, or length where the token cap cut it off"),
    "input_tokens": TOKENS_IN,
    "output_tokens": TOKENS_OUT,
}

BENCHMARK_SCORES: Table = {
    "request_key": REQUEST_KEY,
    "item_id": Column(TEXT, "the benchmark item graded"),
    "benchmark": Column(TEXT, "name in the study"),
    "condition": Column(TEXT, "the student's condition"),
    "seed": Column(INT, "training seed; null for the untrained base"),
    "sample": Column(INT, "number of the draw, from 0"),
    "cluster": Column(TEXT, "what the item shares a source with"),
    "gold": Column(TEXT, "the correct answer"),
    "extracted": Column(TEXT, "the answer as the official protocol reads it; null where there is none"),
    "rule": Column(TEXT, "which rule of extraction fired, or why there is no answer"),
    "score": Column(FLOAT, "by the official scorer, 0 to 1"),
    "outcome": Column(TEXT, "correct, partial, wrong, no_answer or timeout"),
    "fair_extracted": Column(TEXT, "the answer as the fairer scorer reads it"),
    "fair_rule": Column(TEXT, "which rule fired there"),
    "fair_score": Column(FLOAT, "by the fairer scorer, 0 to 1"),
    "fair_outcome": Column(TEXT, "its outcome"),
    "truncated": Column(BOOL, "whether the token cap cut the response off"),
    "looped": Column(BOOL, "whether the response ends in a repetition"),
}

COMPARISON: Table = {
    "benchmark": Column(TEXT, "name in the study"),
    "condition": Column(TEXT, "in the study's order"),
    "accuracy": Column(FLOAT, "mean official score over items, samples and seeds, %"),
    "low": Column(FLOAT, "lower end of the 95 % interval over items, %"),
    "high": Column(FLOAT, "upper end of the 95 % interval over items, %"),
    "seed_low": Column(FLOAT, "lowest accuracy of a training seed, %"),
    "seed_high": Column(FLOAT, "highest accuracy of a training seed, %"),
    "exact_rate": Column(FLOAT, "responses that score 1, %; less than the accuracy where there is partial credit"),
    "truncation_rate": Column(FLOAT, "responses cut off at the token cap, %"),
    "no_answer_rate": Column(FLOAT, "responses without an answer, %"),
    "loop_rate": Column(FLOAT, "responses that end in a repetition, %"),
    "timeout_rate": Column(FLOAT, "responses whose grading was given up, %"),
    "fair_accuracy": Column(FLOAT, "mean score by the fairer scorer, %"),
    "fair_low": Column(FLOAT, "lower end of its 95 % interval over items, %"),
    "fair_high": Column(FLOAT, "upper end, %"),
    "items": Column(INT, "benchmark items"),
    "clusters": Column(INT, "groups of items that share a source; as many as items where none do"),
    "samples": Column(INT, "answers per item and student"),
    "seeds": Column(INT, "training seeds; 0 for the untrained base"),
    "training_rows": Column(INT, "examples each student was trained on"),
}

DIFFERENCES: Table = {
    "benchmark": Column(TEXT, "name in the study"),
    "condition": Column(TEXT, "the later condition of the pair"),
    "against": Column(TEXT, "the earlier one"),
    "difference": Column(FLOAT, "accuracy of condition less that of against, paired by item, percentage points"),
    "low": Column(FLOAT, "lower end of its 95 % interval over items, clustered, percentage points"),
    "high": Column(FLOAT, "upper end"),
    "bootstrap_low": Column(FLOAT, "lower end by resampling clusters 2,000 times, percentage points"),
    "bootstrap_high": Column(FLOAT, "upper end"),
    "p": Column(FLOAT, "of no difference, two-sided t test"),
    "p_holm": Column(FLOAT, "adjusted for all pairs of the benchmark (Holm)"),
    "resolved": Column(BOOL, "whether p_holm is below 0.05"),
    "mcnemar_p": Column(FLOAT, "exact McNemar test; null unless each side scored every item once, 0 or 1"),
    "seed_low": Column(FLOAT, "smallest difference over pairs of training seeds; null without several seeds"),
    "seed_high": Column(FLOAT, "largest one"),
    "items": Column(INT, "items both sides answered"),
}

FILES: Table = {
    "path": Column(TEXT, "where the file lies"),
    "format": Column(TEXT, "html or markdown"),
    "bytes": Column(INT, "its size"),
}

LEAKAGE: Table = {
    "benchmark": Column(TEXT, "name in the study"),
    "level": Column(TEXT, "none (no inversion), an exposure, that with _selected behind, full_trace, or a reference"),
    "condition": Column(TEXT, "whose students are measured"),
    "tokens": Column(FLOAT, "mean tokens shown beside the answer, in the student's tokens"),
    "facts": Column(FLOAT, "mean numbers and formulas in them, each as often as it stands there"),
    "fidelity": Column(FLOAT, "mean ROUGE-L of inverted against real traces, x100; null for a closed target"),
    "fidelity_low": Column(FLOAT, "lower end of its 95 % interval over rows"),
    "fidelity_high": Column(FLOAT, "upper end"),
    "accuracy": Column(FLOAT, "of the students, %"),
    "low": Column(FLOAT, "lower end of the 95 % interval over items, %"),
    "high": Column(FLOAT, "upper end, %"),
    "seed_low": Column(FLOAT, "lowest accuracy of a training seed, %"),
    "seed_high": Column(FLOAT, "highest accuracy of a training seed, %"),
    "truncation_rate": Column(FLOAT, "responses cut off at the token cap, %"),
    "no_answer_rate": Column(FLOAT, "responses without an answer, %"),
    "loop_rate": Column(FLOAT, "responses that end in a repetition, %"),
    "recovered": Column(
        FLOAT, "how far from answers alone (0) to the full trace (100); null where these ends are not apart"
    ),
    "training_rows": Column(INT, "examples each student was trained on"),
    "describe": Column(TEXT, "what the level stands for"),
}
