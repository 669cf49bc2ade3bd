"""Programs are judged by what they do in the sandbox, compared outside."""

import base64
import json
import pickle
import shutil
import zlib
from pathlib import Path

import pytest

from tracepipe.benchmarks.code import HUMANEVAL_PLUS, LIVECODEBENCH
from tracepipe.benchmarks.items import load_items
from tracepipe.benchmarks.protocol import Item
from tracepipe.grading.code import program, same_output, same_value
from tracepipe.spec import SpecError

needs_sandbox = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap (bwrap) is not installed")


def packed(cases: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def live_row(**changes: object) -> dict:
    public = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
    private = [{"input": "10 -4\n", "output": "6.0", "testtype": "stdin"}]
    about = {"question_id": "q1", "contest_id": "c1", "starter_code": "", "metadata": "{}", "question_content": "Add."}
    return {**about, "public_test_cases": json.dumps(public), "private_test_cases": packed(private), **changes}


def fenced(code: str) -> str:
    return f"Here it is:\n\n```python\n{code}\n```\nIt adds."


@pytest.fixture
def stdin_item() -> Item:
    return LIVECODEBENCH.read(live_row(), "row 1")


@pytest.fixture
def function_item() -> Item:
    cases = [{"input": "[3, 1]\n2", "output": "[1, 3, 2]", "testtype": "functional"}]
    row = live_row(public_test_cases=json.dumps(cases), private_test_cases="", metadata='{"func_name": "f"}')
    return LIVECODEBENCH.read(row, "row 1")


@needs_sandbox
@pytest.mark.parametrize(
    ("response", "score", "outcome"),
    [
        (fenced("a, b = map(int, input().split())\nprint(a + b)"), 1, "correct"),
        (fenced("a, b = map(int, input().split())\nif __name__ == '__main__':\n    print(float(a + b))"), 1, "correct"),
        (fenced("print(3)"), 0, "wrong"),
        (fenced("raise SystemExit(1)"), 0, "wrong"),
        (fenced("syntax error here"), 0, "wrong"),
        ("```python\nprint(3)", 0, "no_answer"),
        ("I would add the numbers.", 0, "no_answer"),
        ("<think>\n" + fenced("print(3)"), 0, "no_answer"),
    ],
)
def test_a_program_passes_where_all_tests_do(stdin_item: Item, response: str, score: float, outcome: str):
    verdict = LIVECODEBENCH.grade(stdin_item, response).official
    assert (verdict.score, verdict.outcome) == (score, outcome)


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "score"),
    [
        ("class Solution:\n    def f(self, xs, y):\n        return sorted(xs) + [y]", 1),
        ("def f(xs, y):\n    return tuple(sorted(xs) + [y])", 1),
        ("def f(xs, y):\n    return xs", 0),
        ("class Yes:\n    def __eq__(self, other): return True\ndef f(xs, y): return Yes()", 0),
        ("class Yes(list):\n    def __eq__(self, other): return True\ndef f(xs, y): return Yes()", 0),
        ("def g(xs, y):\n    return 1", 0),
    ],
)
def test_a_function_passes_where_it_returns_what_is_expected(function_item: Item, code: str, score: float):
    assert LIVECODEBENCH.grade(function_item, fenced(code)).official.score == score


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_test_cases_are_unpickled_without_running_anything(capsys: pytest.CaptureFixture[str]):
    evil = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(SpecError, match=r"row 7: test cases cannot be read: .*print; only plain values are read"):
        LIVECODEBENCH.read(live_row(private_test_cases=evil), "row 7")
    assert "code ran" not in capsys.readouterr().out


PROMPT = 'def half(xs):\n    """Return every second element."""\n'
HUMAN = {"task_id": "T/0", "prompt": PROMPT, "entry_point": "half", "canonical_solution": "    return xs[::2]\n"}
ROWS = [
    {**HUMAN, "base_input": [[[1, 2, 3]]], "plus_input": [[[]], [[0.1, 0.2]]]},
    {**HUMAN, "test": "inputs = [[[1, 2, 3]], [[]], [[0.1, 0.2]]]\nresults = [[1, 3], [], [0.1]]\ndef check(f): pass"},
]


@needs_sandbox
@pytest.mark.parametrize("row", ROWS, ids=["evalplus", "data set"])
@pytest.mark.parametrize(
    ("code", "score"),
    [
        (PROMPT + "    return xs[::2]", 1),
        ("    return [x for i, x in enumerate(xs) if i % 2 == 0]", 1),
        (PROMPT + "    return [x + 1e-9 if isinstance(x, float) else x for x in xs[::2]]", 1),
        (PROMPT + "    return tuple(xs[::2])", 0),
        (PROMPT + "    return xs[:1]", 0),
    ],
)
def test_a_completion_is_compared_with_the_canonical_solution_on_all_inputs(row: dict, code: str, score: float):
    assert HUMANEVAL_PLUS.grade(HUMANEVAL_PLUS.read(row, "row 1"), fenced(code)).official.score == score


@needs_sandbox
def test_any_root_of_the_polynomial_will_do():
    prompt = "def find_zero(xs):\n"
    row = {
        **HUMAN,
        "prompt": prompt,
        "entry_point": "find_zero",
        "canonical_solution": "    return 1.0\n",
        "base_input": [[[-1, 0, 1]]],
    }
    item = HUMANEVAL_PLUS.read(row, "row 1")
    scores = [
        HUMANEVAL_PLUS.grade(item, fenced(f"{prompt}    return {root}")).official.score for root in (1, -1.0, 0.5)
    ]
    assert scores == [1, 1, 0]


def test_the_block_that_defines_the_function_is_taken_and_not_its_example():
    text = "```python\ndef half(x):\n    return x\n```\nUse it:\n```python\nprint(half([1]))\n```"
    assert "def half" in str(program(text, "half").answer)
    assert str(program(text).answer).startswith("print")
    assert program("def half(x):\n    return x").rule == "bare"
    assert program("Just words here").rule == "none"


def test_outputs_are_compared_by_lines_and_as_decimals():
    assert same_output("1 2\n3\n", " 1 2 \n3")
    assert same_output("0.50", ".5")
    assert not same_output("50000000000000000", "50000000000000001")
    assert not same_output("1\n2", "1 2")
    assert not same_output("a", "b")


def test_values_are_compared_by_type_and_floats_within_a_millionth():
    assert same_value([0.1, (1, 2.0)], [0.1 + 1e-9, (1, 2)])
    assert not same_value([1], (1,))
    assert not same_value(1.0, 1.1)
    assert same_value({"a": {1}}, {"a": {1}})


def test_items_without_tests_are_an_error_that_names_the_row(tmp_path: Path):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(live_row(public_test_cases="", private_test_cases="")) + "\n")
    with pytest.raises(SpecError, match=r"row 1: there are no test cases"):
        load_items(LIVECODEBENCH, str(path))
