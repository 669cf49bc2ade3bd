"""What changed between revisions, over the prompts that both answered."""

import polars as pl

from tracepipe.records import TARGET_CHANGES, TARGET_OUTPUTS, schema
from tracepipe.revisions import changes, previous


def outputs(*answers: str | None, **columns: object) -> pl.DataFrame:
    row = dict.fromkeys(TARGET_OUTPUTS) | {"model": "m", "summary": "s", "output_tokens": 10, "reasoning_tokens": 5}
    rows = [
        row | {"prompt_id": str(number), "answer": text, "outcome": "ok" if text else "api_error"} | columns
        for number, text in enumerate(answers)
    ]
    return pl.DataFrame(rows, schema=schema(TARGET_OUTPUTS), strict=False)


def test_agreement_is_on_the_last_box_or_else_on_the_text():
    before = outputs("so \\boxed{1}", "thus \\boxed{2}", "plain text", "other", None)
    after = outputs("hence \\boxed{1}", "thus \\boxed{3}", "plain  text", None, "now")
    table = changes("mine", before, after)
    assert table.schema == schema(TARGET_CHANGES)
    rows = {row["measure"]: row for row in table.iter_rows(named=True)}
    assert round(rows["answer_agreement"]["after"], 1) == 66.7
    assert rows["answer_agreement"]["rows"] == 3
    assert (rows["usable_rate"]["before"], rows["usable_rate"]["after"]) == (80, 80)
    assert set(table["against"]) == {"mine"}


def test_another_model_longer_texts_and_missing_summaries_show():
    table = changes("mine", outputs("a", "b"), outputs("a", "b", model="n", summary=None, output_tokens=30))
    rows = {row["measure"]: (row["before"], row["after"]) for row in table.iter_rows(named=True)}
    assert rows["same_model_name"] == (None, 0)
    assert rows["summary_rate"] == (100, 0)
    assert rows["output_tokens"] == (10, 30)
    assert rows["summary_characters"] == (1, None)


def test_the_previous_revision_is_the_latest_before_and_of_the_same_target():
    known = ["mine", "mine@2026-01-01", "mine@2026-03-01", "mine-two", "mine-two@2026-02-01"]
    assert previous("mine@2026-02-15", known) == "mine@2026-01-01"
    assert previous("mine@2025-01-01", known) == "mine"
    assert previous("mine", known) is None
