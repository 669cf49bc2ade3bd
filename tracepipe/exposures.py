"""What is shown under each of a study's policies, of the surrogate's reasoning and of the target's (`policies`)."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import polars as pl

from tracepipe.facts import FORMULA, NUMBER
from tracepipe.gates import Gate, ids_preserved, none_fail
from tracepipe.identity import digest
from tracepipe.policies import EndpointPolicy, FunctionPolicy, Headers, ModelPolicy, Noise, Policy, Shorten, Withhold
from tracepipe.records import EXPOSED, conform
from tracepipe.rewriting import by_callable, by_endpoint, by_function, by_model
from tracepipe.roles import Exposure
from tracepipe.study import Study
from tracepipe.target import Target, hides, hides_traces
from tracepipe.text import same_words
from tracepipe.workbench import Workbench

VERSION = "1"
GAP = "[...]"
"""What stands where something was left out."""

_HEADER = re.compile(r"^\s*(?:\*\*[^*\n]+\*\*:?|#{1,6}\s.+)\s*$", re.MULTILINE)


def exposed(study: Study, exposure: Exposure, rows: pl.DataFrame, bench: Workbench) -> pl.DataFrame:
    """Apply a policy to every row.

    Args:
        study: The study.
        exposure: The policy's name.
        rows: `prompt_id, prompt, text`; the text is the summary or the trace, as the policy takes it.
        bench: Runs the policy's model, and keeps what an endpoint has answered.

    Returns:
        EXPOSED, one row per row. A text may be empty where a policy shows nothing of it.

    Raises:
        SpecError: If a function cannot be used.
        CollectionStopped: If an endpoint does not answer, or its budget is spent.
    """
    policy, key = study.policies[exposure], f"policies.{exposure}"
    if isinstance(policy, FunctionPolicy):
        made = by_function(policy.function, rows, f"{key}.function")
    elif isinstance(policy, ModelPolicy):
        seed = study.derived_seed("policy", exposure)
        made = by_model(policy, policy.wording, rows, label=f"exposure {exposure}", seed=seed, bench=bench)
    elif isinstance(policy, EndpointPolicy):
        with bench.summariser(exposure) as (journal, trace_sink):
            made = by_endpoint(Path(policy.file), policy.wording, rows, journal, trace_sink)
    else:
        made = by_callable(built_in(policy), f"{policy.kind} {digest(policy.identity())}", rows, key)
    return conform(made.sort("prompt_id"), EXPOSED)


def built_in(policy: Policy) -> Callable[[str], str]:
    """Return the function of a policy that needs nobody's help."""
    if isinstance(policy, Shorten):
        return lambda text: shorten(text, policy.share)
    if isinstance(policy, Noise):
        return lambda text: noise(text, policy.share)
    functions: dict[type, Callable[[str], str]] = {Headers: headers, Withhold: withhold}
    return functions[type(policy)]


def shorten(text: str, share: float) -> str:
    """Return the first words of a text with the white space between them: so large a share, rounded up."""
    words = list(re.finditer(r"\S+", text))
    kept = math.ceil(share * len(words))
    return text[: words[kept - 1].end()] if kept else ""


def headers(text: str) -> str:
    """Return the lines of a text that are headers."""
    return "\n".join(found[0].strip() for found in _HEADER.finditer(text))


def withhold(text: str) -> str:
    """Return a text with a gap in place of every number and formula."""
    return NUMBER.sub(GAP, FORMULA.sub(GAP, text))


def noise(text: str, share: float) -> str:
    """Replace a share of a text's numbers, chosen by its content, by other numbers with as many digits."""
    random = Random(digest([text, share]))

    def other(found: re.Match[str]) -> str:
        if random.random() >= share:
            return found[0]
        digits = [random.choice("123456789") if one.isdigit() else one for one in found[0]]
        changed = "".join(digits)
        return changed if changed != found[0] else changed[:-1] + ("1" if changed[-1] != "1" else "2")

    return NUMBER.sub(other, text)


def not_exposed(study: Study, exposure: Exposure, target: Target) -> str | None:
    """Why an exposure cannot be studied on a target, or None where it can."""
    policy = study.policies.get(exposure)
    if policy is None:
        return hides(exposure, target)
    return hides_traces(target) if policy.origin == "trace" else hides("summary", target)


def exposure_gates(given: pl.DataFrame, shown: pl.DataFrame) -> list[Gate]:
    """Every row given has one row shown, and no text made from a trace is the whole trace.

    Args:
        given: `prompt_id, text, whole`; `whole` is what must not be shown as it is, null where there is no such thing.
        shown: EXPOSED.
    """
    both = given.filter(pl.col("whole").is_not_null()).join(shown, on="prompt_id", validate="1:1")
    bare = [
        row["prompt_id"]
        for row in both.iter_rows(named=True)
        if row["summary"] and row["whole"].strip() and same_words(row["summary"], row["whole"])
    ]
    return [
        ids_preserved("one_row_per_text", given["prompt_id"], shown["prompt_id"]),
        none_fail("traces_stay_hidden", bare, "rows show their whole trace"),
    ]
