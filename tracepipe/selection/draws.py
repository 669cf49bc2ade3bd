"""Draw traces several times per row, and measure every draw by what anybody can see (paper: verification, future work).

What is looked at: the draw, the answer and summary that the target shows, the row's other draws, and two models that
are open: the inverter and the surrogate. An inverter that was told the answer can copy it onto wrong steps, and then
agreement with the answer finds nothing; the surrogate is asked how likely it would have written the same steps without
being told.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from tracepipe.consistency import agreements, conclusion
from tracepipe.fidelity import count_tokens
from tracepipe.gates import Gate, ids_preserved
from tracepipe.grading.extraction import extract
from tracepipe.inversion import invert, inverter_prompts
from tracepipe.loops import loops
from tracepipe.records import TRACE_DRAWS, conform
from tracepipe.roles import Exposure
from tracepipe.selection.spec import Selection
from tracepipe.study import Study
from tracepipe.text import reasoned
from tracepipe.workbench import LikelihoodJob, Workbench

VERSION = "1"
_QUOTE = re.compile(
    r"\b(?:given|provided|supplied|stated)\s+(?:final\s+|correct\s+)?answer\b"
    r"|\banswer\s+(?:is|was|has been)\s+(?:already\s+)?(?:given|provided|supplied|stated)\b"
    r"|\b(?:told|given)\s+(?:that\s+)?the\s+(?:final\s+|correct\s+)?answer\b",
    re.IGNORECASE,
)


def draw_traces(
    study: Study,
    exposure: Exposure,
    model: str,
    checkpoint: str,
    shown: pl.DataFrame,
    first: pl.DataFrame,
    examples: pl.DataFrame,
    bench: Workbench,
) -> pl.DataFrame:
    """Draw every row's trace as often as the study says, and rows without a survivor again within the budget.

    Args:
        study: The study, with a block `selection`.
        exposure: What the inverter sees.
        model: The inverter's folder.
        checkpoint: Its identity.
        shown: See `inversion.shown_rows`.
        first: INVERTED_TRACES of the same rows, which are draw 0.
        examples: EXAMPLES of the inverters, from which lengths are predicted.
        bench: Runs the models.

    Returns:
        TRACE_DRAWS, one row per row shown and draw.
    """
    selection = _selection(study)
    drawn = [_judged(shown, first, 0)]
    for number in range(1, selection.most_draws):
        # Beyond the draws that every row gets, only rows go on of which no draw has survived.
        waiting = shown if number < selection.draws else _without_survivor(shown, pl.concat(drawn), selection)
        if not waiting.height:
            break
        written = invert(study, exposure, model, checkpoint, waiting, bench, draw=number)
        drawn.append(_judged(waiting, written, number))
    draws = pl.concat(drawn).sort("prompt_id", "draw")
    measured = _with_lengths(study, exposure, shown, draws, examples)
    measured = measured.with_columns(_consistency(measured))
    needed = frozenset[str]().union(*(choice.needs for choice in study.selections_at(exposure).values()))
    likelihoods = _likelihoods(study, exposure, model, shown, measured, needed, bench)
    return conform(measured.join(likelihoods, on="request_key", how="left", maintain_order="left"), TRACE_DRAWS)


def _selection(study: Study) -> Selection:
    if study.selection is None:
        raise ValueError(f"study '{study.name}' has no block selection")
    return study.selection


def _judged(shown: pl.DataFrame, written: pl.DataFrame, number: int) -> pl.DataFrame:
    """Hold draws against the rules that look at one draw alone."""
    rows = written.join(shown.select("prompt_id", "answer"), on="prompt_id", validate="1:1", maintain_order="left")
    traces = rows["inverted_trace"].fill_null("").to_list()
    pairs = [
        (extract(answer or "").answer, conclusion(trace).answer)
        for answer, trace in zip(rows["answer"], traces, strict=True)
    ]
    return rows.drop("answer").with_columns(
        pl.lit(number, dtype=pl.Int64).alias("draw"),
        (pl.col("outcome") == "ok").alias("terminates"),
        pl.Series("no_loop", [not loops(trace) for trace in traces], dtype=pl.Boolean),
        pl.Series("agrees", [verdict is True for verdict in agreements(pairs)], dtype=pl.Boolean),
        pl.Series("no_quote", [not quotes_the_answer(trace) for trace in traces], dtype=pl.Boolean),
    )


def quotes_the_answer(trace: str) -> bool:
    """Whether a trace speaks of an answer that its writer was given, which no one who solves a problem has."""
    return _QUOTE.search(trace) is not None


def _without_survivor(shown: pl.DataFrame, draws: pl.DataFrame, selection: Selection) -> pl.DataFrame:
    passed = pl.all_horizontal(pl.col(rule) for rule in selection.rules if rule != "plausible")
    return shown.join(draws.filter(passed), on="prompt_id", how="anti")


def _with_lengths(
    study: Study, exposure: Exposure, shown: pl.DataFrame, draws: pl.DataFrame, examples: pl.DataFrame
) -> pl.DataFrame:
    """Add each draw's length, and the one predicted from the inverter's prompt: a power law fitted to its examples."""
    tokenizer = study.inverter.model
    learnt = examples.filter(condition=exposure)
    asked = _logarithms(count_tokens(learnt["prompt"].to_list(), tokenizer))
    written = _logarithms(count_tokens(learnt["trace"].to_list(), tokenizer))
    slope, offset = np.polyfit(asked, written, 1) if len(set(asked)) > 1 else (0.0, float(np.mean(written)))
    prompts = _logarithms(count_tokens(inverter_prompts(study, exposure, shown).to_list(), tokenizer))
    predicted = shown.select("prompt_id", pl.Series("predicted_tokens", np.exp(slope * prompts + offset)))
    lengths = count_tokens(draws["inverted_trace"].fill_null("").to_list(), tokenizer)
    return draws.with_columns(pl.Series("tokens", lengths, dtype=pl.Int64)).join(
        predicted, on="prompt_id", validate="m:1", maintain_order="left"
    )


def _logarithms(counts: Sequence[int]) -> npt.NDArray[np.float64]:
    logarithms: npt.NDArray[np.float64] = np.log(np.asarray(counts, dtype=np.float64).clip(1.0))
    return logarithms


def _consistency(draws: pl.DataFrame) -> pl.Series:
    """How much each draw has in common with the others of its row: mean Dice overlap of their words, as multisets."""
    found: list[float | None] = []
    for _, row in draws.group_by("prompt_id", maintain_order=True):
        bags = [Counter(trace.split()) for trace in row["inverted_trace"].fill_null("")]
        for place, bag in enumerate(bags):
            others = [_dice(bag, other) for at, other in enumerate(bags) if at != place]
            found.append(sum(others) / len(others) if others else None)
    return pl.Series("consistency", found, dtype=pl.Float64)


def _dice(left: Counter[str], right: Counter[str]) -> float:
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0


def _likelihoods(
    study: Study,
    exposure: Exposure,
    model: str,
    shown: pl.DataFrame,
    draws: pl.DataFrame,
    needed: frozenset[str],
    bench: Workbench,
) -> pl.DataFrame:
    """Measure what the selections need: `request_key, likelihood, plausibility`, null where it is not needed."""
    rows = draws.filter("terminates").select("request_key", "prompt_id", "inverted_trace")
    rows = rows.join(
        shown.with_columns(inverter_prompts(study, exposure, shown).alias("inverter_prompt")),
        on="prompt_id",
        validate="m:1",
        maintain_order="left",
    )
    template = study.surrogate.wording.template
    forward = [template.format(prompt=prompt) for prompt in rows["prompt"]]
    whole = [reasoned(*pair) for pair in rows.select("inverted_trace", "answer").iter_rows()]
    asked, traces = rows["inverter_prompt"].to_list(), rows["inverted_trace"].to_list()
    texts = {
        "likelihood": (model, asked, traces, study.inverter.thinking),
        "plausibility": (study.surrogate.model, forward, whole, study.surrogate.thinking),
    }
    jobs = {
        name: LikelihoodJob(
            label=f"{name} of traces ({exposure})",
            model=folder,
            rows=rows.select(id="request_key").with_columns(
                pl.Series("prompt", prompts, dtype=pl.String), pl.Series("completion", completions, dtype=pl.String)
            ),
            thinking=thinking,
        )
        for name, (folder, prompts, completions, thinking) in texts.items()
        if name in needed
    }
    found = rows.select("request_key")
    for name, scored in zip(jobs, bench.likelihoods(list(jobs.values())), strict=True):
        means = scored.select(request_key="id", **{name: pl.col("log_likelihood") / pl.col("tokens")})
        found = found.join(means, on="request_key", validate="1:1")
    return found.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in texts if name not in needed)


def draw_gates(shown: pl.DataFrame, draws: pl.DataFrame) -> list[Gate]:
    """Every row shown has a first draw."""
    return [ids_preserved("every_row_drawn", shown["prompt_id"], draws.filter(draw=0)["prompt_id"])]
