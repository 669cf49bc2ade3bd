"""Prompts that a benchmark asks too, or nearly, are left out with a receipt; others are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.identity import prompt_id
from tracepipe.problems import Decontamination
from tracepipe.prompts.decontamination import contaminated, decontamination_gate, find_matches
from tracepipe.prompts.sources import RawPrompt
from tracepipe.records import BENCHMARK_ITEMS, PROMPTS, from_rows

LONG = (
    "A farmer has a rectangular field whose length is three times its width and whose perimeter is one hundred and "
    "sixty metres; what is the area of the field in square metres?"
)
SHORT = "Sum up the first ten primes."
OTHER = "How many ways are there to seat five people around a round table if two of them refuse to sit together?"
ALL = Decontamination()


def rule_of(prompt: str, *items: str, rules: Decontamination = ALL) -> tuple[str, int] | None:
    (match,) = find_matches([prompt], items, rules)
    return match and (match.rule, match.item)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        (f"  {LONG.upper()}\r\n", ("exact", 1)),
        (f"Solve this. {LONG[:110]} Give reasons.", ("ngram", 1)),
        (SHORT.replace("primes", "prime"), ("fuzzy", 0)),
        (SHORT + " Explain.", None),
        (OTHER, None),
        ("", None),
    ],
)
def test_a_prompt_is_matched_by_the_first_rule_that_finds_it(prompt: str, found: tuple[str, int] | None):
    assert rule_of(prompt, SHORT, LONG) == found


def test_half_of_an_item_in_runs_of_eight_words_is_enough():
    words = LONG.split()
    pieces = [" ".join(words[start : start + 9]) for start in (0, 10, 20)]
    scattered = " and then something else entirely ".join(pieces)
    assert rule_of(scattered, SHORT, LONG) == ("cover", 1)
    assert rule_of(pieces[0] + " and so on", SHORT, LONG) is None


def test_signs_count_for_the_exact_rule():
    exact = Decontamination(rules=("exact",))
    assert rule_of("start 1 A +1", "start 1 A -1", rules=exact) is None
    assert rule_of("start 1  A +1", "Start 1 A +1", rules=exact) == ("exact", 0)


def test_rules_and_thresholds_are_the_studys():
    shared = " ".join(LONG.split()[:10])
    assert rule_of(shared, LONG) is None
    assert rule_of(shared, LONG, rules=Decontamination(ngram=10)) == ("ngram", 0)
    assert rule_of(LONG, LONG, rules=Decontamination(rules=("ngram", "exact"))) == ("ngram", 0)
    assert rule_of(LONG, LONG, rules=Decontamination(rules=())) is None


def items(*problems: str):
    empty = dict.fromkeys(BENCHMARK_ITEMS, "")
    return from_rows(
        [{**empty, "item_id": f"b/{n}", "benchmark": "b", "problem": text} for n, text in enumerate(problems)],
        BENCHMARK_ITEMS,
    )


def test_every_prompt_left_out_has_a_receipt_and_a_gate_looks_again():
    prompts = [RawPrompt(text, "s", None) for text in (LONG, OTHER, LONG, f"Solve this. {LONG[:110]}")]
    table = contaminated(prompts, items(SHORT, LONG), ALL)
    receipts = table.select("prompt_id", "item_id", "rule").rows()
    assert receipts == [(prompt_id(LONG), "b/1", "exact"), (prompt_id(f"Solve this. {LONG[:110]}"), "b/1", "ngram")]
    (_, shared) = table["shared"].to_list()
    assert shared.split() == [word.strip(";").lower() for word in LONG.split()[:13]]
    dealt = from_rows(
        [
            {"prompt_id": key, "prompt": text, "split": "target", "source": "s", "domain": None}
            for key, text in (("p1", OTHER), ("p2", SHORT))
        ],
        PROMPTS,
    )
    gate = decontamination_gate(dealt, items(SHORT, LONG), ALL)
    assert (gate.passed, gate.rows) == (False, ("p2",))


@given(st.permutations([LONG, SHORT, OTHER, f"{OTHER} And {LONG}"]))
def test_the_order_of_prompts_changes_no_verdict(prompts: list[str]):
    verdicts = dict(zip(prompts, find_matches(prompts, [SHORT, LONG], ALL), strict=True))
    assert {text: match and match.rule for text, match in verdicts.items()} == {
        LONG: "exact", SHORT: "exact", OTHER: None, f"{OTHER} And {LONG}": "ngram",
    }  # fmt: skip
