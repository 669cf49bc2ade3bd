"""The benchmarks: how each is read, asked and graded."""

import re

from tracepipe.benchmarks.code import HUMANEVAL_PLUS, LIVECODEBENCH
from tracepipe.benchmarks.jeebench import JEEBENCH
from tracepipe.benchmarks.mathematics import AIME, BOXED, MATH500
from tracepipe.benchmarks.protocol import Protocol
from tracepipe.spec import SpecError

PROTOCOLS = {protocol.name: protocol for protocol in (MATH500, JEEBENCH, AIME, LIVECODEBENCH, HUMANEVAL_PLUS, BOXED)}


def find_protocol(name: str) -> Protocol:
    """Return a benchmark by its name, however it is spelt: `HumanEval+` is `humaneval_plus`.

    Raises:
        SpecError: If there is none; names all.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))
    for protocol in PROTOCOLS.values():
        if protocol.name.replace("_", "") == plain:
            return protocol
    raise SpecError(f"no benchmark is named '{name}'; there are: {', '.join(PROTOCOLS)}")
