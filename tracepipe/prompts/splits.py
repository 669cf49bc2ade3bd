"""Deal prompts out to the surrogate and the target: normalised, distinct, shuffled, disjoint."""

import random
from collections import Counter
from dataclasses import dataclass

import polars as pl

from tracepipe.gates import Gate, disjoint, none_fail
from tracepipe.identity import normalise, prompt_id
from tracepipe.problems import Splits
from tracepipe.prompts.sources import BadRow, RawPrompt
from tracepipe.records import PROMPTS, from_rows
from tracepipe.spec import SpecError


@dataclass(frozen=True)
class Dealt:
    """The prompts of a study and what was left out on the way.

    Attributes:
        table: PROMPTS.
        read: Good rows read.
        duplicates: Good rows dropped because the same text stood earlier.
        held_out: Distinct prompts dropped because they are too close to a benchmark.
        unused: Distinct prompts beyond the sizes asked for.
        bad: Rows that could not be used.
    """

    table: pl.DataFrame
    read: int
    duplicates: int
    held_out: int
    unused: int
    bad: list[BadRow]


def deal(
    prompts: list[RawPrompt], splits: Splits | None, seed: int, left_out: frozenset[str], bad: list[BadRow]
) -> Dealt:
    """Drop duplicates and benchmark problems, shuffle, and split.

    Sources such as OpenThoughts are ordered by origin, hence the shuffle (paper: where it breaks, 13).

    Raises:
        SpecError: If there are fewer distinct prompts than the splits need.
    """
    by_id = {prompt_id(prompt.text): prompt for prompt in reversed(prompts)}
    kept = {key: by_id[key] for key in sorted(by_id.keys() - left_out)}
    order = list(kept)
    random.Random(f"splits-{seed}").shuffle(order)
    sizes = splits or _halves(len(order))
    needed = sizes.surrogate + sizes.target
    if needed > len(order):
        raise SpecError(
            f"prompts.splits asks for {needed} prompts, the source holds {len(order)} that can be used "
            f"({len(prompts)} read, {len(prompts) - len(by_id)} duplicates, {len(by_id) - len(kept)} too close to a "
            f"benchmark, {len(bad)} bad); ask for fewer"
        )
    names = ["surrogate"] * sizes.surrogate + ["target"] * sizes.target
    rows: list[dict[str, str | None]] = [
        {
            "prompt_id": key,
            "prompt": normalise(kept[key].text),
            "split": split,
            "source": kept[key].source,
            "domain": kept[key].domain,
        }
        for key, split in zip(order, names, strict=False)
    ]
    return Dealt(
        table=from_rows(rows, PROMPTS),
        read=len(prompts),
        duplicates=len(prompts) - len(by_id),
        held_out=len(by_id) - len(kept),
        unused=len(order) - needed,
        bad=bad,
    )


def _halves(count: int) -> Splits:
    if count < 2:
        raise SpecError(f"prompts: the source holds {count} usable prompt(s); two splits need at least two")
    return Splits(surrogate=(count + 1) // 2, target=count // 2)


def split_gates(prompts: pl.DataFrame) -> list[Gate]:
    """Splits are disjoint from each other, and hold no prompt twice."""
    surrogate, target = (prompts.filter(split=split)["prompt_id"] for split in ("surrogate", "target"))
    repeated = [key for key, count in Counter(prompts["prompt_id"]).items() if count > 1]
    return [
        disjoint("splits_disjoint", surrogate, target, "prompts stand in both splits"),
        none_fail("prompts_distinct", repeated, "prompts stand twice"),
    ]
