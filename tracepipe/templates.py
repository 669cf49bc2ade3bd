"""Chat templates, looked at before any GPU is used: what they do to think blocks decides what is trained and graded."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tracepipe.chat import begun_block, has_switch, keeps_traces, opening, think_state
from tracepipe.conditions import UNTRAINED_RENDERS
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import digest
from tracepipe.policies import ModelPolicy
from tracepipe.records import CHAT_TEMPLATES, from_rows
from tracepipe.roles import ModelCompressor, Role
from tracepipe.study import Study
from tracepipe.text import reasoned
from tracepipe.training.render import RENDER_GATES, faults, render

VERSION = "1"

TEMPLATE_GATES = {
    "thinking_declared": "roles whose template switches thinking on and off and whose study does not say which (key "
    "thinking), or that say it where there is no switch",
    "surrogate_thinks": "surrogates whose template closes the think block before they write",
    "ends_as_template": "roles whose tokenizer ends a text with another token than their template",
    **{f"probe_{name}": f"trained roles: {what}" for name, what in RENDER_GATES.items()},
}
"""Gate name to what a failing role is."""

_PROMPT, _ANSWER = "What is 2 + 2?", "4"


def roles(study: Study) -> list[tuple[str, Role]]:
    """Return the study's models by role, in the order of the pipeline."""
    found: list[tuple[str, Role]] = [("surrogate", study.surrogate)]
    if isinstance(study.compressor, ModelCompressor):
        found.append(("compressor", study.compressor))
    found += [(f"policy {name}", policy) for name, policy in study.policies.items() if isinstance(policy, ModelPolicy)]
    return [*found, ("inverter", study.inverter), ("student", study.student)]


def describe(tokenizer: Any, role: str, thinking: bool | None, max_length: int | None, sample: str) -> dict[str, Any]:
    """Return a role's row of CHAT_TEMPLATES, without its model.

    Args:
        tokenizer: The role's.
        role: Its name.
        thinking: As the study has it.
        max_length: Of a role that is trained; None for another.
        sample: One of the study's prompts, of whose words the tokenizer is sure to know how to write an example.
    """
    begun = opening(tokenizer, _PROMPT, thinking)
    return {
        "role": role,
        "thinking": thinking,
        "opening": think_state(begun),
        "opens_with": begun_block(begun),
        "has_switch": has_switch(tokenizer),
        "keeps_traces": keeps_traces(tokenizer),
        "end_token": tokenizer.eos_token,
        "ends_as_template": _ends_as_template(tokenizer),
        "template": digest(tokenizer.chat_template),
        "faults": [] if max_length is None else sorted(_probe(tokenizer, role, thinking, max_length, sample)),
    }


def _probe(tokenizer: Any, role: str, thinking: bool | None, max_length: int, sample: str) -> Iterator[str]:
    completion = sample if role == "inverter" else reasoned(sample, sample)
    row = render(tokenizer, sample, completion, thinking)
    yield from faults(tokenizer, row, sample, completion, sample, max_length, thinking)


def _ends_as_template(tokenizer: Any) -> bool:
    """Whether the tokenizer's end of text is what the template puts behind an assistant's message."""
    messages = [{"role": "user", "content": _PROMPT}, {"role": "assistant", "content": _ANSWER}]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False)
    return text.rpartition(_ANSWER)[2].strip().startswith(tokenizer.eos_token)


def template_table(study: Study, described: list[dict[str, Any]]) -> pl.DataFrame:
    """Return CHAT_TEMPLATES from what `describe` found, one row per role."""
    models = {name: role.name for name, role in roles(study)}
    return from_rows([{**row, "model": models[row["role"]]} for row in described], CHAT_TEMPLATES)


def template_gates(study: Study, templates: pl.DataFrame) -> list[Gate]:
    """Judge every role's template before anything is generated or trained with it."""
    rows = templates.rows(named=True)
    other_renders = set(study.conditions) & set(UNTRAINED_RENDERS)
    undeclared = [
        row["role"]
        for row in rows
        if row["has_switch"] != (row["thinking"] is not None)
        or (row["role"] == "student" and other_renders and not row["has_switch"])
    ]
    failing = {
        "thinking_declared": undeclared,
        "surrogate_thinks": [row["role"] for row in rows if row["role"] == "surrogate" and row["opening"] == "closed"],
        "ends_as_template": [row["role"] for row in rows if not row["ends_as_template"]],
        **{f"probe_{name}": [row["role"] for row in rows if name in row["faults"]] for name in RENDER_GATES},
    }
    return [none_fail(gate, failing[gate], what) for gate, what in TEMPLATE_GATES.items()]
