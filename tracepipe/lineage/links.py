"""How rows of one table stand on rows of others: the one place that walks, impact and column lineage follow.

A family is all assets of one name before the `/`: `student` holds `student/base`, `student/oracle` and so on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracepipe import records


@dataclass(frozen=True)
class Link:
    """Rows behind a row.

    Attributes:
        to: Families, each tried in this order among the tables that were read; the first that has rows counts.
        on: Own column to theirs; rows match where all are equal. Empty: the row stands on the whole table.
        suffix: Column of theirs that holds the part behind the `/` of the row's own asset.
        many: Whether one row stands on many: the first is walked on, and the rest counted.
        unless_null: Own column that is null where the row stands on none.
    """

    to: tuple[str, ...]
    on: Mapping[str, str] = field(default_factory=dict)
    suffix: str | None = None
    many: bool = False
    unless_null: str | None = None


@dataclass(frozen=True)
class Family:
    """Tables of one kind.

    Attributes:
        noun: What one row is.
        table: Its columns.
        key: The columns that name a row.
        links: What a row stands on.
        origins: Column to (family, column), where a value is taken or made from another table's beyond the links.
        calls: Whether each row is one call of a model.
    """

    noun: str
    table: records.Table
    key: tuple[str, ...]
    links: tuple[Link, ...] = ()
    origins: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    calls: bool = False


def _by(column: str, *to: str) -> Link:
    return Link(to, {column: column})


_PROMPT = _by("prompt_id", "prompts")
_SHOWN = _by("prompt_id", "target_outputs")
_ITEM = _by("item_id", "benchmark_items")

FAMILIES: Mapping[str, Family] = {
    "prompts": Family("prompt", records.PROMPTS, ("prompt_id",)),
    "chat_templates": Family("chat template", records.CHAT_TEMPLATES, ("role",)),
    "benchmark_items": Family("benchmark item", records.BENCHMARK_ITEMS, ("item_id",)),
    "benchmark_scores": Family(
        "benchmark score",
        records.BENCHMARK_SCORES,
        ("request_key",),
        (Link(("benchmark_answers",), {"request_key": "request_key", "item_id": "item_id"}), _ITEM),
        {
            "extracted": (("benchmark_answers", "response"),),
            "score": (("benchmark_answers", "response"), ("benchmark_items", "gold")),
            "gold": (("benchmark_items", "gold"),),
            "truncated": (("benchmark_answers", "finish_reason"),),
        },
    ),
    "benchmark_answers": Family(
        "student's answer",
        records.BENCHMARK_ANSWERS,
        ("request_key",),
        (_ITEM, _by("checkpoint_id", "student")),
        {"response": (("benchmark_items", "prompt"),)},
        calls=True,
    ),
    "student": Family(
        "student",
        records.CHECKPOINTS,
        ("checkpoint_id",),
        (Link(("oracle_examples", "student_examples"), suffix="condition", many=True, unless_null="dataset_hash"),),
        {"weights": (("student_examples", "completion"), ("oracle_examples", "completion"))},
    ),
    "inverter": Family(
        "inverter",
        records.CHECKPOINTS,
        ("checkpoint_id",),
        (Link(("inverter_examples",), suffix="condition", many=True),),
        {"weights": (("inverter_examples", "completion"),)},
    ),
    "student_examples": Family(
        "training row of a student",
        records.EXAMPLES,
        ("example_id",),
        (
            _by(
                "request_key",
                "inverted_traces",
                "selected_traces",
                "zero_shot_traces",
                "target_outputs",
                "surrogate_traces",
            ),
            _PROMPT,
        ),
        {
            "trace": (
                ("inverted_traces", "inverted_trace"),
                ("selected_traces", "inverted_trace"),
                ("surrogate_traces", "trace"),
            ),
            "completion": (
                ("target_outputs", "answer"),
                ("target_outputs", "summary"),
                ("inverted_traces", "inverted_trace"),
                ("selected_traces", "inverted_trace"),
                ("surrogate_traces", "trace"),
            ),
            "prompt": (("prompts", "prompt"),),
        },
    ),
    "oracle_examples": Family(
        "training row of the oracle",
        records.EXAMPLES,
        ("example_id",),
        (_by("request_key", "target_traces"), _SHOWN, _by("prompt_id", "row_set"), _PROMPT),
        {
            "trace": (("target_traces", "trace"),),
            "completion": (("target_outputs", "answer"), ("target_traces", "trace")),
            "prompt": (("prompts", "prompt"),),
        },
    ),
    "inverter_examples": Family(
        "training row of an inverter",
        records.EXAMPLES,
        ("example_id",),
        (_by("request_key", "surrogate_traces"), _by("prompt_id", "surrogate_summaries"), _PROMPT),
        {
            "trace": (("surrogate_traces", "trace"),),
            "completion": (("surrogate_traces", "trace"),),
            "prompt": (("prompts", "prompt"), ("surrogate_traces", "answer"), ("surrogate_summaries", "summary")),
        },
    ),
    "inverted_traces": Family(
        "inverted trace",
        records.INVERTED_TRACES,
        ("request_key",),
        (_SHOWN, _by("checkpoint_id", "inverter"), _PROMPT),
        {"inverted_trace": (("target_outputs", "answer"), ("target_outputs", "summary"), ("prompts", "prompt"))},
        calls=True,
    ),
    "trace_draws": Family(
        "draw of an inverted trace",
        records.TRACE_DRAWS,
        ("request_key",),
        (_SHOWN, _by("checkpoint_id", "inverter"), _PROMPT),
        {
            "inverted_trace": (("target_outputs", "answer"), ("target_outputs", "summary"), ("prompts", "prompt")),
            "agrees": (("target_outputs", "answer"),),
            "predicted_tokens": (("inverter_examples", "trace"), ("inverter_examples", "prompt")),
        },
        calls=True,
    ),
    "selected_traces": Family(
        "choice among draws",
        records.SELECTED_TRACES,
        ("selection", "prompt_id"),
        (Link(("trace_draws",), {"request_key": "request_key"}, unless_null="request_key"),),
        {"inverted_trace": (("trace_draws", "inverted_trace"),)},
    ),
    "zero_shot_traces": Family(
        "trace by the untrained inverter",
        records.INVERTED_TRACES,
        ("request_key",),
        (_SHOWN, _PROMPT),
        {"inverted_trace": (("target_outputs", "answer"), ("target_outputs", "summary"), ("prompts", "prompt"))},
        calls=True,
    ),
    "row_set": Family("row of the common set", records.ROW_SET, ("prompt_id",), (_SHOWN,)),
    "target_exposures": Family(
        "what a policy shows of a target's reasoning",
        records.EXPOSED,
        ("prompt_id",),
        (_SHOWN, _PROMPT),
        {"summary": (("target_outputs", "summary"),)},
    ),
    "surrogate_exposures": Family(
        "what a policy shows of a surrogate's reasoning",
        records.EXPOSED,
        ("prompt_id",),
        (_by("prompt_id", "surrogate_summaries"), _by("prompt_id", "surrogate_traces"), _PROMPT),
        {"summary": (("surrogate_summaries", "summary"), ("surrogate_traces", "trace"))},
    ),
    "target_outputs": Family(
        "target's output",
        records.TARGET_OUTPUTS,
        ("request_key",),
        (_PROMPT,),
        {"answer": (("prompts", "prompt"),)},
        calls=True,
    ),
    "target_traces": Family(
        "hidden trace", records.TARGET_TRACES, ("request_key",), (_by("request_key", "target_outputs"),)
    ),
    "surrogate_traces": Family(
        "surrogate's trace",
        records.SURROGATE_TRACES,
        ("request_key",),
        (_PROMPT,),
        {"trace": (("prompts", "prompt"),)},
        calls=True,
    ),
    "surrogate_summaries": Family(
        "summary of a surrogate's trace",
        records.SURROGATE_SUMMARIES,
        ("request_key",),
        (_by("prompt_id", "surrogate_traces"),),
        {"summary": (("surrogate_traces", "trace"),)},
        calls=True,
    ),
    "trace_consistency": Family(
        "consistency of an inverted trace",
        records.TRACE_CONSISTENCY,
        ("request_key",),
        (_by("request_key", "inverted_traces"), _SHOWN),
        {
            "trace_answer": (("inverted_traces", "inverted_trace"),),
            "attached_answer": (("target_outputs", "answer"),),
        },
    ),
    "trace_fidelity": Family(
        "fidelity of an inverted trace",
        records.TRACE_FIDELITY,
        ("request_key",),
        (_by("request_key", "inverted_traces", "zero_shot_traces"), _by("prompt_id", "target_traces")),
        {"rougeL": (("inverted_traces", "inverted_trace"), ("target_traces", "trace"))},
    ),
    "dead_letters": Family(
        "unusable output", records.DEAD_LETTERS, ("request_key",), (_by("request_key", "target_outputs"), _PROMPT)
    ),
    "target_attempts": Family(
        "attempt", records.TARGET_ATTEMPTS, ("attempt",), (_by("request_key", "target_outputs"),)
    ),
    "contaminated_prompts": Family("prompt left out", records.CONTAMINATED_PROMPTS, ("prompt_id",), (_ITEM,)),
    "rejected_prompts": Family("line that could not be used", records.REJECTED_PROMPTS, ("line",)),
    "summary_style": Family(
        "style of summaries",
        records.SUMMARY_STYLE,
        ("side",),
        (
            Link(("target_outputs",), many=True),
            Link(("surrogate_summaries",), many=True),
            Link(("surrogate_traces",), many=True),
        ),
    ),
    "target_changes": Family(
        "change of a target", records.TARGET_CHANGES, ("measure",), (Link(("target_outputs",), many=True),)
    ),
    "comparison": Family(
        "compared condition",
        records.COMPARISON,
        ("benchmark", "condition"),
        (Link(("benchmark_scores",), {"benchmark": "benchmark", "condition": "condition"}, many=True),),
        {"accuracy": (("benchmark_scores", "score"),)},
    ),
    "differences": Family(
        "difference of two conditions",
        records.DIFFERENCES,
        ("benchmark", "condition", "against"),
        (
            Link(("benchmark_scores",), {"benchmark": "benchmark", "condition": "condition"}, many=True),
            Link(("benchmark_scores",), {"benchmark": "benchmark", "against": "condition"}, many=True),
        ),
        {"difference": (("benchmark_scores", "score"),)},
    ),
    "leakage": Family(
        "level of an audit",
        records.LEAKAGE,
        ("benchmark", "level"),
        (Link(("comparison",), {"benchmark": "benchmark", "condition": "condition"}),),
        {
            "accuracy": (("comparison", "accuracy"),),
            "tokens": (("target_exposures", "summary"), ("target_outputs", "summary"), ("target_traces", "trace")),
            "fidelity": (("trace_fidelity", "rougeL"),),
        },
    ),
    "audit": Family("audit file", records.FILES, ("format",), (Link(("leakage",), many=True),)),
    "report": Family("report file", records.FILES, ("format",), (Link(("comparison",), many=True),)),
}
"""In the order in which an id that stands in several tables is looked for."""


def family_of(asset: str) -> str:
    """Return the family of an asset."""
    return asset.partition("/")[0]
