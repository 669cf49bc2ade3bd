"""LiveCodeBench and HumanEval+: programs are run in the sandbox, and what comes out is compared outside of it."""

import ast
import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tracepipe.benchmarks.protocol import Graded, Item, Protocol, Verdict, field, judged
from tracepipe.grading.code import program, same_output, same_value
from tracepipe.grading.extraction import Extracted
from tracepipe.grading.sandbox import Limits, Result, decode, encode, run
from tracepipe.spec import SpecError

_LIVE = Limits(seconds=6, total_seconds=300)
_HUMAN = Limits(seconds=4, total_seconds=60)
_ROOT_TOLERANCE = 1e-4


def _read_live(row: Mapping[str, Any], place: str) -> Item:
    problem = field(row, ("question_content",), place)
    starter = str(row.get("starter_code") or "").strip()
    tests = _cases(row.get("public_test_cases"), place) + _cases(row.get("private_test_cases"), place)
    if not tests:
        raise SpecError(f"{place}: there are no test cases in 'public_test_cases' and 'private_test_cases'")
    metadata = json.loads(row.get("metadata") or "{}")
    function = metadata.get("func_name") if tests[0].get("testtype") == "functional" else None
    key = field(row, ("question_id", "id"), place)
    cases = [{"input": case["input"], "output": case["output"]} for case in tests]
    return Item(
        key,
        problem,
        "",
        kind="functional" if function else "stdin",
        cluster=str(row.get("contest_id") or key),
        tests={"cases": cases, "function": function, "starter": starter},
    )


class _TextOnly(pickle.Unpickler):
    """Unpickles builtin values; any class is refused, so that nothing in the file can run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the test cases name {module}.{name}; only plain values are read")


def _cases(text: object, place: str) -> list[dict[str, Any]]:
    """Read test cases as published: JSON, or JSON that was pickled, compressed and written in base 64."""
    if not text:
        return []
    try:
        return list(json.loads(str(text)))
    except ValueError:
        pass
    try:
        packed = zlib.decompress(base64.b64decode(str(text).encode()))
        return list(json.loads(_TextOnly(io.BytesIO(packed)).load()))
    except (binascii.Error, zlib.error, pickle.UnpicklingError, ValueError, TypeError, EOFError) as error:
        raise SpecError(f"{place}: test cases cannot be read: {error}") from None


def _ask_live(item: Item) -> str:
    assert item.tests is not None
    starter = item.tests["starter"]
    how = (
        f"Complete this code:\n\n```python\n{starter}\n```"
        if starter
        else "The program reads from standard input and writes to standard output."
    )
    return f"{item.problem}\n\nSolve this in Python. {how}\n\nGive the whole program in one ```python block."


def _grade_live(item: Item, response: str) -> Graded:
    assert item.tests is not None
    cases, function = item.tests["cases"], item.tests["function"]
    extracted = program(response)
    if extracted.answer is None:
        return _both(judged(extracted, None))
    if function:
        inputs: list[Any] = [[encode(json.loads(line)) for line in case["input"].split("\n")] for case in cases]
        expected = [json.loads(case["output"]) for case in cases]
        return _both(
            _verdict(extracted, inputs, function, _LIVE, lambda index, value: _listed(value) == expected[index])
        )
    inputs = [case["input"] for case in cases]
    return _both(
        _verdict(extracted, inputs, None, _LIVE, lambda index, value: same_output(cases[index]["output"], str(value)))
    )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _both(verdict: Verdict) -> Graded:
    return Graded(verdict, verdict)


def _verdict(extracted: Extracted, inputs: list[Any], function: str | None, limits: Limits, passes: Any) -> Verdict:
    """Run until the first input that fails; a program is right if none does."""
    assert extracted.answer is not None
    results = run(extracted.answer, inputs, function, limits)
    try:
        for index, result in enumerate(results):
            if result.status == "timeout":
                return Verdict(extracted.answer, extracted.rule, 0.0, "timeout")
            if result.status != "ok" or not passes(index, result.value):
                return judged(extracted, 0.0)
    finally:
        results.close()  # type: ignore[attr-defined]  # a generator; closing it ends the sandbox
    return judged(extracted, 1.0)


def _read_human(row: Mapping[str, Any], place: str) -> Item:
    prompt, entry = field(row, ("prompt",), place), field(row, ("entry_point",), place)
    key = field(row, ("task_id", "id"), place)
    inputs = _inputs(row, place)
    tests = {
        "entry_point": entry,
        "solution": prompt + field(row, ("canonical_solution",), place),
        "inputs": [encode(arguments) for arguments in inputs],
        "absolute": float(row.get("atol") or 0),
    }
    return Item(key, prompt, "", cluster=key, tests=tests)


def _inputs(row: Mapping[str, Any], place: str) -> list[list[Any]]:
    """Read the arguments of all tests: evalplus's own fields, or the literal in the test program of its data set."""
    if row.get("base_input") is not None:
        return [*row["base_input"], *(row.get("plus_input") or [])]
    tree = ast.parse(field(row, ("test",), place))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "inputs" for name in node.targets):
            return [list(arguments) for arguments in ast.literal_eval(node.value)]
    raise SpecError(f"{place}: neither 'base_input' nor a list of inputs in 'test'")


def _ask_human(item: Item) -> str:
    return f"Complete this Python function. Give all of it in one ```python block.\n\n```python\n{item.problem}\n```"


@lru_cache(64)
def _expected(solution: str, inputs: str, entry_point: str) -> tuple[Result, ...]:
    """What the canonical solution returns, run in the sandbox as well."""
    return tuple(run(solution, json.loads(inputs), entry_point, _HUMAN))


def _grade_human(item: Item, response: str) -> Graded:
    assert item.tests is not None
    tests, entry = item.tests, item.tests["entry_point"]
    extracted = program(response, entry)
    if extracted.answer is None:
        return _both(judged(extracted, None))
    # A completion that goes on where the prompt ends has no head of its own.
    whole = extracted.answer if f"def {entry}" in extracted.answer else item.problem + extracted.answer
    expected = _expected(tests["solution"], json.dumps(tests["inputs"]), entry)
    if any(result.status != "ok" for result in expected):
        raise SpecError(f"{item.key}: its canonical solution does not run on all of its inputs")

    def passes(index: int, value: Any) -> bool:
        if entry == "find_zero":  # any root will do: the polynomial is evaluated there instead
            return _is_root(decode(tests["inputs"][index])[0], value)
        return same_value(expected[index].value, value, tests["absolute"])

    verdict = _verdict(Extracted(whole, extracted.rule), tests["inputs"], entry, _HUMAN, passes)
    return _both(Verdict(extracted.answer, verdict.rule, verdict.score, verdict.outcome))


def _is_root(coefficients: list[float], value: Any) -> bool:
    if not isinstance(value, (int, float)):
        return False
    return abs(sum(coefficient * value**power for power, coefficient in enumerate(coefficients))) <= _ROOT_TOLERANCE


LIVECODEBENCH = Protocol(
    name="livecodebench",
    source="livecodebench/code_generation_lite",
    licence="CC; the problems belong to their contests",
    official="all public and private tests pass; output compared line by line, numbers as decimals",
    fair="the same",
    read=_read_live,
    ask=_ask_live,
    grade=_grade_live,
    seconds=330.0,
    runs_code=True,
)
HUMANEVAL_PLUS = Protocol(
    name="humaneval_plus",
    source="evalplus/humanevalplus",
    licence="Apache-2.0",
    official="all base and plus inputs give what the canonical solution gives, floats within 1e-6",
    fair="the same",
    read=_read_human,
    ask=_ask_human,
    grade=_grade_human,
    seconds=150.0,
    runs_code=True,
)
