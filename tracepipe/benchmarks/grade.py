"""Grading many responses: in killable processes where a response could hang its grader or eat its memory."""

from collections.abc import Iterable, Iterator, Sequence

from tracepipe import progress
from tracepipe.benchmarks import PROTOCOLS
from tracepipe.benchmarks.protocol import Graded, Item, Protocol, given_up
from tracepipe.grading.sandbox import SandboxMissing, require
from tracepipe.parallel import Lost, each
from tracepipe.spec import SpecError

MEMORY = 2 * 2**30
GRADER_ERROR = "error: "
"""Begins the rule of a response whose grader raised an error, which follows by name."""

Answered = tuple[Item, str]


def grade_all(protocol: Protocol, answered: Sequence[Answered], label: str) -> Iterator[Graded]:
    """Grade responses, in their order; each has an outcome, `timeout` where its grading had to be killed.

    Args:
        protocol: The benchmark.
        answered: Items with the response to each.
        label: For the progress.

    Raises:
        SandboxMissing: If code has to be run and there is no sandbox.
    """
    with progress.task(label, len(answered)) as advance:
        for graded in _graded(protocol, answered):
            yield given_up("gave_up") if isinstance(graded, Lost) else graded
            advance(1)


def _graded(protocol: Protocol, answered: Sequence[Answered]) -> Iterable[Graded | Lost]:
    if not protocol.seconds:
        return (protocol.grade(item, response) for item, response in answered)
    if protocol.runs_code:
        require()
    tasks = ((protocol.name, item, response) for item, response in answered)
    return each(_grade, tasks, seconds=protocol.seconds, memory_bytes=MEMORY)


def _grade(task: tuple[str, Item, str]) -> Graded:
    name, item, response = task
    try:
        return PROTOCOLS[name].grade(item, response)
    except (SpecError, SandboxMissing):
        raise
    except Exception as error:  # no response may end a run; a gate counts these
        return given_up(f"{GRADER_ERROR}{type(error).__name__}")
