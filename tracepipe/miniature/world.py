r"""The miniature world: arithmetic modulo 11 with operations a base model knows and operations it does not.

A problem names a start value and labelled operations, `start 1 A -2 B +1 C *4`. Its trace works
through them one by one, `A -2 10 B +1 0 C *4 0`; its answer boxes the last value, `C \boxed{ 0 }`;
its summary keeps only the hard operations with their results, `C *4 0`. Text is tokenised on spaces.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MODULUS = 11
EASY_OPERATIONS = ("+1", "+2", "-1", "-2")
HARD_OPERATIONS = ("*2", "*3", "*4", "*5", "*6")
LABELS = tuple("ABCDEFGHIJKLMNOP")
HARDER_COUNT = 4
HARDER_EASY = 2

HardFacts = Callable[[int, str], int]


@dataclass(frozen=True)
class Problem:
    """A start value in 0..10 and the operations to apply to it, labelled A, B, C... in order."""

    start: int
    operations: tuple[str, ...]

    @property
    def text(self) -> str:
        """The prompt a model sees."""
        steps = (f"{label} {operation}" for label, operation in zip(LABELS, self.operations, strict=False))
        return " ".join([f"start {self.start}", *steps])

    @property
    def hard_count(self) -> int:
        """How many operations the base model does not know."""
        return sum(operation in HARD_OPERATIONS for operation in self.operations)


@dataclass(frozen=True)
class Solution:
    """What a model writes for a problem: the full trace, its summary and the visible answer."""

    trace: str
    summary: str
    answer: str


def true_facts(value: int, operation: str) -> int:
    """The correct result of a hard operation."""
    return value * int(operation[1:]) % MODULUS


def solve(problem: Problem, hard_facts: HardFacts = true_facts) -> Solution:
    """Work through a problem with the given knowledge of the hard operations."""
    value = problem.start
    steps: list[str] = []
    hard_steps: list[str] = []
    for label, operation in zip(LABELS, problem.operations, strict=False):
        hard = operation in HARD_OPERATIONS
        value = hard_facts(value, operation) if hard else (value + int(operation)) % MODULUS
        step = f"{label} {operation} {value}"
        steps.append(step)
        if hard:
            hard_steps.append(step)
    last = LABELS[len(problem.operations) - 1]
    return Solution(" ".join(steps), " ".join(hard_steps), f"{last} \\boxed{{ {value} }}")


def summarise(trace: str) -> str:
    """Write the target-style summary of a trace: its hard operations with their results."""
    tokens = trace.split()
    steps = zip(tokens[0::3], tokens[1::3], tokens[2::3], strict=False)
    return " ".join(" ".join(step) for step in steps if step[1] in HARD_OPERATIONS)


def true_answer(problem: Problem) -> int:
    """The value a correct answer boxes."""
    value = problem.start
    for operation in problem.operations:
        value = true_facts(value, operation) if operation in HARD_OPERATIONS else (value + int(operation)) % MODULUS
    return value


def draw_problem(rng: random.Random, hard_count: int, most_easy: int = 3) -> Problem:
    """Draw a problem with `hard_count` hard operations, each after one to `most_easy` easy ones."""
    operations: list[str] = []
    for _ in range(hard_count):
        operations.extend(rng.choices(EASY_OPERATIONS, k=rng.randint(1, most_easy)))
        operations.append(rng.choice(HARD_OPERATIONS))
    return Problem(rng.randrange(MODULUS), tuple(operations))


def draw_easy_problem(rng: random.Random, length: int) -> Problem:
    """Draw a problem of easy operations only."""
    return Problem(rng.randrange(MODULUS), tuple(rng.choices(EASY_OPERATIONS, k=length)))


def draw_pool(seed: int, sizes: Mapping[str, int], harder: frozenset[str] = frozenset()) -> dict[str, list[Problem]]:
    """Draw named, mutually disjoint lists of distinct problems.

    The number of hard operations cycles through 1, 2, 3 in every list, so that a list drawn late
    holds as many short problems as one drawn early. Lists named in `harder` have four, each after one or
    two easy operations: harder by more steps to know, not by a length that no training text has.

    Raises:
        ValueError: If the world has too few distinct problems for the sizes asked for.
    """
    rng = random.Random(f"miniature-pool-{seed}")
    seen: set[Problem] = set()
    pool: dict[str, list[Problem]] = {}
    for name, size in sizes.items():
        problems: list[Problem] = []
        for index in range(size):
            hard_count = HARDER_COUNT if name in harder else 1 + index % 3
            most_easy = HARDER_EASY if name in harder else 3
            problems.append(_draw_new(rng, hard_count, most_easy, seen))
        rng.shuffle(problems)
        pool[name] = problems
    return pool


def _draw_new(rng: random.Random, hard_count: int, most_easy: int, seen: set[Problem]) -> Problem:
    for _ in range(1000):
        problem = draw_problem(rng, hard_count, most_easy)
        if problem not in seen:
            seen.add(problem)
            return problem
    raise ValueError(
        f"the miniature world has run out of distinct problems with {hard_count} hard operation(s); "
        "ask for fewer prompts or benchmark items"
    )
