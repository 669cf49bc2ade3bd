"""No response, however hostile, stalls or kills a run: each gets an outcome, and the parent stays small."""

import resource
import time

from tracepipe.benchmarks import PROTOCOLS
from tracepipe.benchmarks.grade import grade_all
from tracepipe.benchmarks.protocol import OUTCOMES, Item

MEGABYTE = 2**20


def boxed(content: str) -> str:
    return f"The answer is $\\boxed{{{content}}}$."


def nested(opening: str, closing: str, depth: int, core: str = "1") -> str:
    return opening * depth + core + closing * depth


TOWERS = [
    boxed(content)
    for content in (
        "9^{9^9}", "9^{9^{9^9}}", "9^{9^{9^{9^9}}}", "2^{2^{2^{2^{2^2}}}}", "(10^{10})^{10^{10}}", "7^{7^{7^7}} - 7^{7^{7^7}}",
        "10^{100000000}", "\\sqrt{9^{9^9}}", "\\log(9^{9^9})", "1/9^{9^9}", "e^{e^{e^{e^e}}}", "99999^{99999}", "2^{1000000000}",
        "3^{-9^{9}}", "\\frac{9^{9^9}}{9^{9^9}}", "(1+10^{-99})^{10^{99}}",
    )
]  # fmt: skip
FACTORIALS = [
    boxed(content)
    for content in (
        "1000000!", "100000000!", "9999999999!", "((100!)!)!", "\\frac{10000000!}{9999999!}", "\\binom{10000000}{5000000}",
        "\\sum_{n=1}^{1000000000} n!", "\\prod_{k=1}^{100000000} k", "\\sum_{k=0}^{\\infty} \\frac{1}{k!}", "\\int_0^1 x^{x^{x^x}} dx",
        "\\int e^{-x^2} \\sin(x^3) \\tan(x) dx", "\\lim_{x \\to 0} \\frac{\\sin(x^{x^x})}{x}", "(x+y+z+w)^{500}",
        "(x+1)(x+2)(x+3)(x+4)(x+5)(x+6)^{300}", "\\sqrt[100000]{2}^{100000}", "\\gcd(10^{9999}, 3^{9999})",
    )
]  # fmt: skip
DEEP = [
    boxed(nested("\\frac{1}{", "}", 500)), boxed(nested("\\sqrt{", "}", 3000)), boxed(nested("(", ")", 5000)),
    boxed(nested("{", "}", 9000)), boxed(nested("x^{", "}", 200)), boxed(nested("\\frac{1}{1+", "}", 38)),
    boxed(nested("\\left(", "\\right)", 2000)), boxed(nested("\\sin(", ")", 35)), boxed(nested("\\boxed{", "}", 1000)),
    boxed("+".join(["1"] * 900)), boxed("-" * 1900 + "1"), boxed("x" * 1900), boxed(",".join(["1"] * 900)),
    boxed("\\begin{pmatrix}" + "&".join(["1"] * 400) + "\\end{pmatrix}"), boxed("1" * 1999), boxed("0." + "3" * 1900),
]  # fmt: skip
HUGE = [
    "1" * MEGABYTE, "\\boxed{" * (MEGABYTE // 7), "\\boxed{" + "9" * MEGABYTE + "}", "the answer is " * (MEGABYTE // 14),
    "$" * MEGABYTE, "\n" * MEGABYTE, "{" * MEGABYTE, "<think>" * (MEGABYTE // 7), "\\(" * (MEGABYTE // 4) + "\\)" * (MEGABYTE // 4),
    boxed("\x00\x01\ufffe"), boxed("__import__('os').system('true')"), boxed("\\input{/etc/passwd}"), boxed("\u202e\u0661\u0662"),
    "answer = " + "9" * 5000, boxed("1e999999999"), boxed("\\text{" + "a" * 1500 + "}"),
]  # fmt: skip
HOSTILE = [*TOWERS, *FACTORIALS, *DEEP, *HUGE]


def test_hostile_responses_all_get_an_outcome_and_stall_nothing():
    assert len(HOSTILE) >= 60
    item = Item("1", "What is the number?", "42")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    last, longest, outcomes = time.monotonic(), 0.0, []
    for graded in grade_all(PROTOCOLS["math500"], [(item, response) for response in HOSTILE], "hostile"):
        outcomes.append((graded.official.outcome, graded.fair.outcome))
        last, longest = time.monotonic(), max(longest, time.monotonic() - last)
    assert len(outcomes) == len(HOSTILE)
    assert {outcome for pair in outcomes for outcome in pair} <= set(OUTCOMES) - {"correct", "partial"}
    assert longest < 35
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


def test_hostile_responses_to_other_kinds_of_questions_stall_nothing_either():
    choice = Item("1", "Which?", "AC", "MCQ(multiple)")
    number = Item("2", "How much?", "42", "Numeric")
    answered = [(item, response) for item in (choice, number) for response in [*HUGE, *DEEP[:2], TOWERS[0]]]
    started = time.monotonic()
    graded = list(grade_all(PROTOCOLS["jeebench"], answered, "hostile"))
    assert {one.official.outcome for one in graded} <= {"wrong", "no_answer", "timeout"}
    assert time.monotonic() - started < 120
