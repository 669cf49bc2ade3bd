"""`tracepipe grade`: stored responses find their items, and every bad line is an error by name."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import tracepipe
from tracepipe.benchmarks import PROTOCOLS, find_protocol
from tracepipe.benchmarks.grade import grade_all
from tracepipe.benchmarks.protocol import Item
from tracepipe.spec import SpecError

ITEMS = [
    {"unique_id": "a", "problem": "What is 1 + 1?", "answer": "2"},
    {"unique_id": "b", "problem": "What is half of 1?", "answer": "\\frac{1}{2}"},
    {"unique_id": "c", "problem": "What is half of 1?", "answer": "0.5"},
]


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return path


def grade(folder: Path, items: Path, responses: list[object], *more: str) -> subprocess.CompletedProcess[str]:
    path = folder / "responses.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in responses))
    return tracepipe(folder, "grade", "MATH500", "--items", str(items), "--responses", str(path), *more)


def test_responses_find_their_items_by_id_or_by_problem_and_come_out_in_order(items: Path, tmp_path: Path):
    responses: list[object] = [
        {"id": "b", "response": "So $\\boxed{0.50}$", "finish_reason": "stop"},
        {"question": " What is 1 + 1?\r\n", "response": "It is \\boxed{2}"},
        {"id": "b", "response": "The answer is $\\frac12$.", "sample": 7},
        {"unique_id": "a", "response": "<think> " + "Wait, once more. " * 20, "finish_reason": "length"},
    ]
    out = tmp_path / "out.jsonl"
    ended = grade(tmp_path, items, responses, "--json", "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["line"], row["id"], row["sample"]) for row in rows] == [
        (1, "b", 0),
        (2, "a", 0),
        (3, "b", 7),
        (4, "a", 1),
    ]
    assert [(row["score"], row["outcome"]) for row in rows] == [
        (0.0, "wrong"), (1.0, "correct"), (0.0, "no_answer"), (0.0, "no_answer"),
    ]  # fmt: skip
    assert [(row["fair_score"], row["fair_rule"]) for row in rows] == [
        (1.0, "boxed"), (1.0, "boxed"), (1.0, "phrase"), (0.0, "unclosed_think"),
    ]  # fmt: skip
    summary = json.loads(ended.stdout)
    # The mean over items of the means over their samples.
    assert (summary["official"]["score"], summary["fair"]["score"]) == (0.25, 0.75)
    assert (summary["truncation_rate"], summary["loop_rate"]) == (0.5, 0.25)
    assert summary["official"]["low"] < 0.25 < summary["official"]["high"]
    printed = grade(tmp_path, items, responses).stdout
    assert "string rule of the MATH benchmark" in printed
    assert "95 % interval" in printed
    assert "truncated %" in printed
    assert "give finish_reason" in grade(tmp_path, items, [{"id": "a", "response": "2"}]).stdout


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"id": "nobody", "response": "1"}, "line 2: no item has the id 'nobody'"),
        ({"question": "What is 2 + 2?", "response": "1"}, "line 2: no item has the problem text"),
        ({"question": "What is half of 1?", "response": "1"}, "line 2: 2 items have the problem text"),
        (
            {"id": "a", "question": "What is 2 + 2?", "response": "1"},
            "line 2: no item has the id 'a' and the problem text",
        ),
        ({"response": "1"}, "line 2: give 'id' (the item's own) or 'question'"),
        ({"id": "a"}, "line 2: field 'response' is missing"),
        ({"id": "a", "response": 7}, "line 2: field 'response' is not text"),
        ({"id": "a", "response": "1", "sample": "x"}, "line 2: field 'sample' is not a whole number"),
        ({"id": "a", "response": "1", "sample": 0}, "line 2: sample 0 of item 'a' stands already in line 1"),
        ("{half", "line 2: not JSON"),
    ],
)
def test_a_bad_line_is_an_error_that_names_it(items: Path, tmp_path: Path, bad: object, words: str):
    ended = grade(tmp_path, items, [{"id": "a", "response": "2"}, bad])
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"unique_id": "a", "problem": "x"}\n', "row 1: field 'answer' or 'gold'"),
        ('{"unique_id": "a", "problem": "x", "answer": "1"}\n' * 2, "row 2: id 'a' stands already"),
        ("[1]", "row 1: not a JSON object"),
        ("", "holds no items"),
    ],
)
def test_bad_items_are_an_error_that_names_file_and_row(tmp_path: Path, content: str, words: str):
    path = tmp_path / "items.jsonl"
    path.write_text(content)
    ended = grade(tmp_path, path, [{"id": "a", "response": "1"}])
    assert ended.returncode == 2
    assert words in ended.stderr


def test_half_a_surrogate_pair_is_graded_and_not_refused(items: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    ended = grade(tmp_path, items, [{"id": "a", "response": "\ud83d \\boxed{\ude00}"}], "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(out.read_text())["extracted"] == "\ufffd"


def test_a_missing_file_and_an_unknown_benchmark_are_said(items: Path, tmp_path: Path):
    assert "there is no such file" in grade(tmp_path, tmp_path / "none.jsonl", [{"id": "a", "response": "1"}]).stderr
    ended = tracepipe(tmp_path, "grade", "gpqa", "--items", str(items), "--responses", str(items))
    assert (ended.returncode, "there are: math500, jeebench" in ended.stderr) == (2, True)


def test_a_grader_that_fails_ends_no_run_and_is_named():
    broken = Item("1", "How many?", "not a number")
    fine = Item("2", "How many?", "7")
    graded = list(grade_all(PROTOCOLS["aime"], [(broken, r"\boxed{7}"), (fine, r"\boxed{7}")], "test"))
    assert [(one.official.outcome, one.official.rule) for one in graded] == [
        ("timeout", "error: ValueError"),
        ("correct", "boxed"),
    ]


def test_a_benchmark_is_found_however_it_is_spelt():
    assert find_protocol("HumanEval+") is find_protocol("humaneval_plus") is PROTOCOLS["humaneval_plus"]
    assert find_protocol("MATH-500").name == "math500"
    with pytest.raises(SpecError, match="no benchmark is named 'mmlu'"):
        find_protocol("mmlu")


def test_aime_is_graded_as_whole_numbers():
    aime = PROTOCOLS["aime"]
    item = aime.read({"id": 1, "problem": "How many?", "answer": "073"}, "row 1")
    assert [aime.grade(item, text).official.score for text in (r"\boxed{73}", r"\boxed{073}", r"\boxed{72}")] == [
        1,
        1,
        0,
    ]
    with pytest.raises(SpecError, match="row 2: the answer of an AIME problem is a whole number from 0 to 999"):
        aime.read({"id": 1, "problem": "How many?", "answer": "1/2"}, "row 2")


def test_power_is_printed_with_what_it_assumes(tmp_path: Path):
    printed = tracepipe(tmp_path, "power", "--problems", "500", "--samples", "4").stdout
    assert "2.9 percentage points" in printed
    assert "training seeds come on top" in printed
    found = json.loads(tracepipe(tmp_path, "power", "--problems", "500", "--json").stdout)
    assert round(found["smallest_difference_points"], 1) == 5.8
