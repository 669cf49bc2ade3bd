"""`tracepipe fidelity, grade, power`: scores of stored texts, and what a comparison of given size can show."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from tracepipe.benchmarks import find_protocol
from tracepipe.benchmarks.grade import grade_all
from tracepipe.benchmarks.items import Response, load_items, load_responses
from tracepipe.benchmarks.protocol import OUTCOMES, Graded, Protocol, Verdict
from tracepipe.cli.options import FAILED, JsonOption
from tracepipe.fidelity import Pair, count_tokens, score_pairs
from tracepipe.jsonl import read_lines, text_field, write_lines
from tracepipe.loops import loops
from tracepipe.overlap import METRICS
from tracepipe.report.tables import Grid
from tracepipe.spec import SpecError
from tracepipe.statistics import WITHIN_VARIANCE, interval_over_items, item_means, smallest_difference
from tracepipe.terminal import console, errors, print_grid, shown_progress
from tracepipe.words import MissingTokenizerData, Words

OutOption = Annotated[Path | None, typer.Option("--out", help="write one JSON line per row to this file")]


def fidelity(
    pairs: Annotated[Path, typer.Argument(help="JSON Lines with id, reference, synthesized")],
    out: OutOption = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="count lengths with this model's tokenizer, not in words")
    ] = None,
    words: Annotated[Words, typer.Option(help="how NLTK's words are found; sentences needs punkt_tab")] = "one_line",
    as_json: JsonOption = False,
) -> None:
    """Compare synthesized texts with their references: lengths, BLEU, token F1, ROUGE-1/2/L, all x100."""
    if tokenizer is not None:
        _try_tokenizer(tokenizer)
    ids = _ids(pairs)
    with shown_progress():
        try:
            scored = list(score_pairs(_texts(pairs), len(ids), words, tokenizer, "fidelity"))
        except MissingTokenizerData as missing:
            raise SpecError(f"--words sentences: {missing}") from None
    rows = [{"id": key, **scores, "words": words} for key, scores in zip(ids, scored, strict=True)]
    if out is not None:
        write_lines(out, rows)
    unit = "words" if tokenizer is None else "tokens"
    means = pl.DataFrame(scored).mean().row(0, named=True)
    # The ratio of the mean lengths, as the paper has it, and not the mean of the ratios.
    means["length_recovery"] = means[f"synthesized_{unit}"] / max(means[f"reference_{unit}"], 1e-9)
    if as_json:
        print(json.dumps({"pairs": len(ids), **means, "words": words, "tokenizer": tokenizer}))
        return
    header = ("pairs", f"{unit} (real)", "length recovery", f"BLEU ({words})", f"token F1 ({words})")
    lengths = f"{means[f'synthesized_{unit}']:.1f} ({means[f'reference_{unit}']:.1f})"
    cells = (str(len(ids)), lengths, f"{means['length_recovery']:.3f}", *(f"{means[name]:.2f}" for name in METRICS))
    print_grid(Grid((*header, "ROUGE-1", "ROUGE-2", "ROUGE-L"), (cells,)), f"fidelity: {pairs.name}")
    if words == "one_line":
        console.print(
            "note: BLEU and token F1 are over NLTK words of the text taken as one line; the paper's code splits "
            "sentences first (--words sentences, needs NLTK's punkt_tab)",
            highlight=False,
        )


def _try_tokenizer(name: str) -> None:
    try:
        count_tokens([""], name)
    except Exception as error:  # tokenizers raises the bare class
        raise SpecError(f"--tokenizer {name}: no folder with a tokenizer.json, and as a hub id: {error}") from None


def _ids(path: Path) -> list[str | int]:
    """Read the whole file once: a bad line ends everything before any work is done."""
    seen: dict[str | int, int] = {}
    for line, row in read_lines(path):
        place = f"{path}, line {line}"
        key = row.get("id")
        if not isinstance(key, (str, int)):
            raise SpecError(f"{place}: field 'id' is missing, or neither text nor a whole number; each pair needs one")
        for field in ("reference", "synthesized"):
            text_field(row, field, place)
        if key in seen:
            raise SpecError(f"{place}: id '{key}' stands already in line {seen[key]}; ids must differ")
        seen[key] = line
    if not seen:
        raise SpecError(f"{path}: holds no pair; write one JSON object a line, with id, reference and synthesized")
    return list(seen)


def _texts(path: Path) -> Iterator[Pair]:
    for line, row in read_lines(path):
        place = f"{path}, line {line}"
        yield text_field(row, "reference", place), text_field(row, "synthesized", place)


def grade(
    benchmark: Annotated[str, typer.Argument(help="math500, jeebench, aime, livecodebench, humaneval_plus, miniature")],
    items: Annotated[str, typer.Option(help="the items: a .json, .jsonl or .parquet file, or a hub id")],
    responses: Annotated[Path, typer.Option(help="JSON Lines with response, and id or question of the item")],
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Grade stored responses by the benchmark's official protocol, and by a fairer one beside it."""
    from tracepipe.grading.sandbox import SandboxMissing

    protocol = find_protocol(benchmark)
    read = load_responses(load_items(protocol, items), responses)
    try:
        with shown_progress():
            answered = [(response.item, response.text) for response in read]
            graded = list(grade_all(protocol, answered, f"grading {protocol.name}"))
    except SandboxMissing as missing:
        errors.print(f"error: {missing}", markup=False, highlight=False)
        raise typer.Exit(FAILED) from None
    if out is not None:
        write_lines(out, [_graded_row(response, one) for response, one in zip(read, graded, strict=True)])
    columns = {
        "official": _summary(read, [one.official for one in graded]),
        "fair": _summary(read, [one.fair for one in graded]),
    }
    ends = _ends(read)
    if as_json:
        about = {"benchmark": protocol.name, "responses": len(read), "items": len({one.item.key for one in read})}
        print(json.dumps({**about, "score": columns["official"]["score"], **ends, **columns}))
        return
    _print_grades(protocol, columns, ends)


def _graded_row(response: Response, graded: Graded) -> dict[str, object]:
    def columns(verdict: Verdict, before: str) -> dict[str, object]:
        row = {"extracted": verdict.extracted, "rule": verdict.rule, "score": verdict.score, "outcome": verdict.outcome}
        return {before + name: value for name, value in row.items()}

    about = {"line": response.line, "id": response.item.key, "sample": response.sample, "gold": response.item.gold}
    return {**about, **columns(graded.official, ""), **columns(graded.fair, "fair_")}


def _summary(read: list[Response], verdicts: list[Verdict]) -> dict[str, float]:
    """Mean score over items with its 95 % interval, and the share of each outcome, all from 0 to 1."""
    rows = pl.DataFrame(
        {
            "item": [response.item.key for response in read],
            "cluster": [response.item.cluster for response in read],
            "score": [verdict.score for verdict in verdicts],
        }
    )
    interval = interval_over_items(*item_means(rows))
    shares = {f"{name}_rate": sum(one.outcome == name for one in verdicts) / len(verdicts) for name in OUTCOMES}
    return {"score": interval.mean, "low": interval.low, "high": interval.high, **shares}


def _ends(read: list[Response]) -> dict[str, float | None]:
    """How the responses end, 0 to 1: cut off at the token cap (None where no line says so), or in a repetition."""
    known = [response.truncated for response in read if response.truncated is not None]
    looped = sum(loops(response.text) for response in read) / len(read)
    return {"truncation_rate": sum(known) / len(known) if known else None, "loop_rate": looped}


def _print_grades(protocol: Protocol, columns: dict[str, dict[str, float]], ends: dict[str, float | None]) -> None:
    header = ("scorer", "how", "score %", "95 % interval", "exact %", "partial %", "no answer %", "timeout %")
    ended = tuple("unknown" if share is None else f"{100 * share:.1f}" for share in ends.values())
    cells = [
        (
            name,
            getattr(protocol, name),
            f"{100 * found['score']:.2f}",
            f"{100 * found['low']:.1f} - {100 * found['high']:.1f}",
            *(f"{100 * found[f'{outcome}_rate']:.1f}" for outcome in ("correct", "partial", "no_answer", "timeout")),
            *ended,
        )
        for name, found in columns.items()
    ]
    print_grid(Grid((*header, "truncated %", "loops %"), tuple(cells)), protocol.name)
    if ends["truncation_rate"] is None:
        console.print(
            "note: no response says how it ended; give finish_reason to see what was cut off", highlight=False
        )


def power(
    problems: Annotated[int, typer.Option(min=2, help="independent items of the benchmark")],
    samples: Annotated[int, typer.Option(min=1, help="answers per item and side")] = 1,
    chance: Annotated[float, typer.Option(min=0.5, max=0.999, help="chance to find the difference")] = 0.8,
    within: Annotated[float, typer.Option(min=0, max=0.25, help="variance of one answer, mean over problems")] = (
        WITHIN_VARIANCE
    ),
    as_json: JsonOption = False,
) -> None:
    """Say how small a difference between two conditions a benchmark can show (paired, 5 % two-sided)."""
    found = 100 * smallest_difference(problems, samples, power=chance, within=within)
    if as_json:
        about = {"problems": problems, "samples": samples, "power": chance, "within_variance": within}
        print(json.dumps({**about, "smallest_difference_points": found}))
        return
    console.print(
        f"{problems} problems, {samples} answer(s) each: differences of {found:.1f} percentage points or more are "
        f"found with {100 * chance:g} % power.\nAssumed: one answer varies by {within:g} within a problem on either "
        "side, both sides find the same problems hard, problems are independent; training seeds come on top.",
        highlight=False,
    )
