"""Style statistics of summaries, and the gate between the compressor's and the target's."""

import polars as pl
import pytest

from tests.conftest import MODELS
from tracepipe.problems import SummaryStyle
from tracepipe.records import SUMMARY_STYLE, TARGET_OUTPUTS, schema
from tracepipe.summary_style import style_gates, summary_style

TOKENIZER = str(MODELS / "base")
PLAIN = "start 1 A +2"
RICH = "**Finding the root**\n\nI'm solving $x^2 = 4$ and then let's check \\frac{1}{2}."


def described(target: list[str | None], compressor: list[str], reasoning_tokens: int = 20) -> pl.DataFrame:
    row = dict.fromkeys(TARGET_OUTPUTS)
    rows = [
        row | {"prompt_id": str(number), "summary": text, "reasoning_tokens": reasoning_tokens}
        for number, text in enumerate(target)
    ]
    outputs = pl.DataFrame(rows, schema=schema(TARGET_OUTPUTS), strict=False)
    ids = [str(number) for number in range(len(compressor))]
    traces = pl.DataFrame({"prompt_id": ids, "trace": ["start 1 A +2 B *4 C -1"] * len(ids)})
    summaries = pl.DataFrame({"prompt_id": ids, "summary": compressor, "outcome": ["ok"] * len(ids)})
    return summary_style(outputs, traces, summaries, TOKENIZER)


def test_length_manner_and_compression_of_both_sides_are_measured():
    style = described([RICH, RICH, PLAIN, None], [PLAIN, PLAIN])
    assert style.schema == schema(SUMMARY_STYLE)
    target, compressor = style.iter_rows(named=True)
    assert (target["side"], target["summaries"]) == ("target", 3)
    for share in ("bold_header", "first_person", "latex"):
        assert target[share] == pytest.approx(100 * 2 / 3)
        assert compressor[share] == 0
    assert compressor["compression"] == pytest.approx(8 / 4)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("**Header**\ntext", "bold_header"),
        ("I think so", "first_person"),
        ("so we get", "first_person"),
        ("$x$", "latex"),
        ("\\[ x \\]", "latex"),
    ],
)
def test_each_manner_is_recognised_alone(text: str, share: str):
    target, _ = described([text], [PLAIN]).iter_rows(named=True)
    assert {name for name in ("bold_header", "first_person", "latex") if target[name]} == {share}


def test_inline_bold_and_roman_numerals_are_no_manner():
    target, _ = described(["a **bold** word costs 5$ in part II"], [PLAIN]).iter_rows(named=True)
    assert not any(target[name] for name in ("bold_header", "first_person", "latex"))


def test_alike_summaries_pass_and_other_ones_name_the_measures():
    (gate,) = style_gates(described([PLAIN] * 3, [PLAIN] * 3, reasoning_tokens=8), SummaryStyle())
    assert gate.passed
    (gate,) = style_gates(described([RICH] * 3, [PLAIN] * 3), SummaryStyle())
    assert {row.split()[0] for row in gate.rows} >= {"median_tokens", "bold_header", "first_person", "latex"}
    (gate,) = style_gates(described([RICH] * 3, [PLAIN] * 3), SummaryStyle(points=100, factor=1000))
    assert gate.passed


def test_a_target_without_summaries_does_not_pass():
    (gate,) = style_gates(described([None], [PLAIN]), SummaryStyle())
    assert gate.rows == ("no summaries on the side of the target",)
