"""Training texts of the three given models: the base, the target and the surrogate."""

import random
from collections.abc import Callable, Iterator

from tracepipe.miniature.world import (
    HARD_OPERATIONS,
    MODULUS,
    HardFacts,
    Problem,
    draw_easy_problem,
    draw_problem,
    solve,
    true_facts,
)

Example = tuple[str, str]
"""A user message and the assistant's reply."""


def reasoned(trace: str, answer: str) -> str:
    """The reply of a reasoning model: its trace in a think block, then its answer."""
    return f"<think> {trace} </think> {answer}"


def base_corpus(seed: int) -> Iterator[Example]:
    """Yield the base model's endless mixed corpus.

    The base must come out able to do the easy steps and to read a value from notes by its label,
    and ignorant of the hard operations: wherever it meets one, the result is read from notes or drawn
    at random, so it stays undecided there and later training can still teach it either way.
    """
    rng = random.Random(f"miniature-base-{seed}")
    kinds: tuple[tuple[Callable[[random.Random], Example], float], ...] = (
        (_easy_trace, 0.25),
        (_noted_trace, 0.35),
        (_guessed_trace, 0.20),
        (_direct_answer, 0.10),
        (_listing, 0.10),
    )
    makers, weights = zip(*kinds, strict=True)
    while True:
        yield rng.choices(makers, weights)[0](rng)


def _easy_trace(rng: random.Random) -> Example:
    problem = draw_easy_problem(rng, rng.randint(1, 12))
    solution = solve(problem)
    return f"problem {problem.text}", reasoned(solution.trace, solution.answer)


def _guessing(rng: random.Random) -> HardFacts:
    return lambda _value, _operation: rng.randrange(MODULUS)


def _noted_trace(rng: random.Random) -> Example:
    problem = draw_problem(rng, rng.randint(1, 4))
    solution = solve(problem, _guessing(rng))
    return f"notes {solution.summary} problem {problem.text}", reasoned(solution.trace, solution.answer)


def _guessed_trace(rng: random.Random) -> Example:
    problem = draw_problem(rng, rng.randint(1, 4))
    solution = solve(problem, _guessing(rng))
    return f"problem {problem.text}", reasoned(solution.trace, solution.answer)


def _direct_answer(rng: random.Random) -> Example:
    problem = draw_easy_problem(rng, rng.randint(1, 2))
    return f"problem {problem.text}", solve(problem).answer


def _listing(rng: random.Random) -> Example:
    problem = draw_problem(rng, rng.randint(1, 4))
    return f"list {problem.text}", problem.text.split(" ", 2)[2]


def solved_corpus(problems: list[Problem], seed: int, hard_facts: HardFacts = true_facts) -> Iterator[Example]:
    """Yield reasoned solutions of `problems` for ever, reshuffled every epoch."""
    rng = random.Random(f"miniature-solved-{seed}")
    while True:
        order = rng.sample(problems, len(problems))
        for problem in order:
            solution = solve(problem, hard_facts)
            yield f"problem {problem.text}", reasoned(solution.trace, solution.answer)


def noisy_textbook(seed: int, worst: float = 0.65, common: float = 0.6) -> HardFacts:
    """Return the surrogate's textbook: each hard fact is misprinted with a probability of its own.

    Args:
        seed: Which textbook.
        worst: Each fact's error probability is drawn uniformly from 0 to `worst`.
        common: Share of the misprints that repeat one common mistake; the others are guesses.
    """
    rng = random.Random(f"miniature-textbook-{seed}")
    facts = [(value, operation) for value in range(MODULUS) for operation in HARD_OPERATIONS]
    error = {fact: rng.uniform(0, worst) for fact in facts}
    mistake = {fact: rng.randrange(MODULUS) for fact in facts}

    def look_up(value: int, operation: str) -> int:
        fact = (value, operation)
        if rng.random() >= error[fact]:
            return true_facts(value, operation)
        return mistake[fact] if rng.random() < common else rng.randrange(MODULUS)

    return look_up
