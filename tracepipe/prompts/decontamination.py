"""Prompts that a benchmark asks too, or nearly: found by four rules, each with a receipt.

`exact`: the same normalised words. `ngram`: any run of 13 words in common. `cover`: runs of 8 words in common that
make up at least half of the item. `fuzzy`: for items too short to have such a run, a similarity of 95 % or more.
OpenThoughts was cleaned against fewer benchmarks than a study may use, JEEBench not among them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tracepipe import progress
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import normalise, prompt_id
from tracepipe.problems import Decontamination, Rule
from tracepipe.prompts.sources import RawPrompt
from tracepipe.records import CONTAMINATED_PROMPTS, from_rows

_WORD = re.compile(r"\w+")
_CHUNK = 2000


@dataclass(frozen=True)
class Match:
    """A prompt and the item it is too close to; see CONTAMINATED_PROMPTS for score and shared."""

    rule: Rule
    item: int
    score: float
    shared: str | None = None


def contaminated(prompts: Sequence[RawPrompt], items: pl.DataFrame, rules: Decontamination) -> pl.DataFrame:
    """Find the prompts that are too close to an item.

    Args:
        prompts: All prompts of the source.
        items: BENCHMARK_ITEMS.
        rules: Which rules, with their thresholds.

    Returns:
        CONTAMINATED_PROMPTS, one row per distinct prompt to leave out, with the first rule that matched.
    """
    distinct = {prompt_id(prompt.text): prompt.text for prompt in prompts}
    texts = list(distinct.values())
    names = items.select("item_id", "benchmark").rows()
    found = find_matches(texts, items["problem"].to_list(), rules)
    rows = [
        {
            "prompt_id": key,
            "prompt": text,
            "item_id": names[match.item][0],
            "benchmark": names[match.item][1],
            "rule": match.rule,
            "score": match.score,
            "shared": match.shared,
        }
        for (key, text), match in zip(distinct.items(), found, strict=True)
        if match
    ]
    return from_rows(rows, CONTAMINATED_PROMPTS)


def find_matches(prompts: Sequence[str], items: Sequence[str], rules: Decontamination) -> list[Match | None]:
    """Return for every prompt the first rule, in the study's order, by which it matches an item."""
    index = _Index(items, rules)
    matches: list[Match | None] = []
    with progress.task("decontamination", len(prompts)) as advance:
        for start in range(0, len(prompts), _CHUNK):
            chunk = prompts[start : start + _CHUNK]
            words = [_words(text) for text in chunk]
            fuzzy = _fuzzy(words, index, rules) if "fuzzy" in rules.rules else [None] * len(words)
            found = (index.matches(text, own) for text, own in zip(chunk, words, strict=True))
            matches += [_first(of_rules, near, rules) for of_rules, near in zip(found, fuzzy, strict=True)]
            advance(len(words))
    return matches


def _first(found: dict[Rule, Match], fuzzy: Match | None, rules: Decontamination) -> Match | None:
    if fuzzy is not None:
        found["fuzzy"] = fuzzy
    return next((found[rule] for rule in rules.rules if rule in found), None)


def _same_text(text: str) -> str:
    """The text as rule `exact` compares it: signs count, case and white space do not."""
    return " ".join(normalise(text).casefold().split())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


class _Index:
    """The items' words, and where each run of them stands."""

    def __init__(self, items: Sequence[str], rules: Decontamination) -> None:
        self._rules = rules
        self.items = [_words(item) for item in items]
        self._whole = {_same_text(item): number for number, item in reversed(list(enumerate(items)))}
        self._long = self._places(rules.ngram) if "ngram" in rules.rules else {}
        self._short = self._places(rules.cover_ngram) if "cover" in rules.rules else {}

    def _places(self, size: int) -> dict[str, list[tuple[int, int]]]:
        """Run of words to the items it stands in, each with its place there."""
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, words in enumerate(self.items):
            for place, run in enumerate(_runs(words, size)):
                places[run].append((number, place))
        return dict(places)

    def matches(self, text: str, words: list[str]) -> dict[Rule, Match]:
        """Return the match of each rule but `fuzzy`."""
        found: dict[Rule, Match] = {}
        same = self._whole.get(_same_text(text)) if "exact" in self._rules.rules else None
        if same is not None:
            found["exact"] = Match("exact", same, 100.0)
        runs: dict[int, list[str]] = defaultdict(list)
        if self._long:
            for run in _runs(words, self._rules.ngram):
                for number, _ in self._long.get(run, ()):
                    runs[number].append(run)
        if runs:
            most = max(runs, key=lambda number: (len(set(runs[number])), -number))
            found["ngram"] = Match("ngram", most, float(len(set(runs[most]))), runs[most][0])
        covered = self._covered(words) if self._short else None
        if covered:
            found["cover"] = covered
        return found

    def _covered(self, words: list[str]) -> Match | None:
        size = self._rules.cover_ngram
        places: dict[int, set[int]] = defaultdict(set)
        shared: dict[int, str] = {}
        for run in _runs(words, size):
            for number, place in self._short.get(run, ()):
                places[number].update(range(place, place + size))
                shared.setdefault(number, run)
        shares = {number: len(covered) / len(self.items[number]) for number, covered in places.items()}
        most = max(shares, key=lambda number: (shares[number], -number), default=None)
        if most is None or shares[most] < self._rules.cover_share:
            return None
        return Match("cover", most, 100 * shares[most], shared[most])


def _runs(words: list[str], size: int) -> Iterator[str]:
    return (" ".join(words[start : start + size]) for start in range(len(words) - size + 1))


def _fuzzy(prompts: list[list[str]], index: _Index, rules: Decontamination) -> list[Match | None]:
    """Compare prompts with the items that have too few words for a run of `ngram`, all at once."""
    from rapidfuzz import fuzz
    from rapidfuzz.process import cdist

    short = [number for number, words in enumerate(index.items) if 0 < len(words) < rules.ngram]
    if not short:
        return [None] * len(prompts)
    items = [" ".join(index.items[number]) for number in short]
    # The ratio is twice the common characters over all; a longer prompt cannot reach it.
    longest = max(len(item) for item in items) * (200 / rules.fuzzy_ratio - 1)
    texts = [" ".join(words) for words in prompts]
    near = [place for place, text in enumerate(texts) if 0 < len(text) <= longest]
    ratios = cdist(
        [texts[place] for place in near], items, scorer=fuzz.ratio, score_cutoff=rules.fuzzy_ratio, workers=-1
    )
    matches: list[Match | None] = [None] * len(prompts)
    for place, row in zip(near, ratios, strict=True):
        best = int(row.argmax())
        if row[best] >= rules.fuzzy_ratio:
            matches[place] = Match("fuzzy", short[best], float(row[best]))
    return matches


def decontamination_gate(prompts: pl.DataFrame, items: pl.DataFrame, rules: Decontamination) -> Gate:
    """No prompt that is asked matches an item, looked for once more among the prompts that were dealt out."""
    found = find_matches(prompts["prompt"].to_list(), items["problem"].to_list(), rules)
    rows = [key for key, match in zip(prompts["prompt_id"], found, strict=True) if match]
    return none_fail("benchmarks_held_out", rows, f"prompts match a benchmark item (rules: {', '.join(rules.rules)})")
