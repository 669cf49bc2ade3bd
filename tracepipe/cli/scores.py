"""`tracepipe fidelity, grade, power`: scores of stored texts, and what a comparison of given size can show."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from tracepipe.cli.options import JsonOption
from tracepipe.fidelity import Pair, score_pairs
from tracepipe.jsonl import read_lines, text_field, write_lines
from tracepipe.overlap import METRICS
from tracepipe.report.tables import Grid
from tracepipe.spec import SpecError
from tracepipe.terminal import console, print_grid, shown_progress
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


def _ids(path: Path) -> list[str]:
    """Read the whole file once: a bad line ends everything before any work is done."""
    seen: dict[str, int] = {}
    for line, row in read_lines(path):
        place = f"{path}, line {line}"
        if row.get("id") is None:
            raise SpecError(f"{place}: field 'id' is missing; each pair needs one of its own")
        for field in ("reference", "synthesized"):
            text_field(row, field, place)
        key = str(row["id"])
        if key in seen:
            raise SpecError(f"{place}: id '{key}' stands already in line {seen[key]}; ids must differ")
        seen[key] = line
    if not seen:
        raise SpecError(f"{path}: holds no pair; write one JSON object a line, with id, reference and synthesized")
    return list(seen)


def _texts(path: Path) -> Iterator[Pair]:
    for _, row in read_lines(path):
        yield row["reference"], row["synthesized"]
