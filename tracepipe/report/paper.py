"""The paper's accuracies (arXiv 2603.07267 v2, tables 3 and 4), shown beside ours where a study repeats its setting."""

import polars as pl

from tracepipe.study import Study
from tracepipe.target import Target

_BENCHMARKS = ("math500", "jeebench", "livecodebench")
_STUDENTS = {"qwen": "Qwen2.5-7B-Instruct", "llama": "Llama-3.1-8B-Instruct"}
_R1, _GPT = "R1", "GPT-5.4 mini"
_TARGETS: dict[str, tuple[str, ...]] = {_R1: ("deepseek-r1", "deepseek-reasoner"), _GPT: ("gpt-5.4-mini",)}
_WEAK, _STRONG = "R1-Distill-1.5B", "R1"
_SURROGATES: dict[str, tuple[str, ...]] = {_WEAK: ("deepseek-r1-distill-qwen-1.5b",), _STRONG: ("deepseek-r1",)}

_ROWS: list[tuple[str, str, str | None, str, tuple[float, float, float]]] = [
    ("qwen", _R1, None, "base", (71.2, 28.3, 28.9)),
    ("qwen", _R1, None, "answer_only", (61.0, 21.6, 25.4)),
    ("qwen", _R1, None, "summary_answer", (63.0, 24.0, 25.6)),
    ("qwen", _R1, _WEAK, "surrogate_trace", (63.2, 19.7, 22.9)),
    ("qwen", _R1, _WEAK, "inverted_summary", (71.8, 36.3, 30.9)),
    ("qwen", _R1, _STRONG, "inverted_summary", (74.4, 37.1, 32.2)),
    ("qwen", _R1, _WEAK, "inverted_answer", (66.4, 29.7, 26.2)),
    ("qwen", _R1, _STRONG, "inverted_answer", (74.1, 33.2, 29.1)),
    ("qwen", _R1, None, "oracle", (72.2, 43.7, 33.2)),
    ("llama", _R1, None, "base", (42.1, 16.6, 13.1)),
    ("llama", _R1, None, "answer_only", (44.0, 17.2, 9.6)),
    ("llama", _R1, None, "summary_answer", (45.8, 18.2, 11.7)),
    ("llama", _R1, _WEAK, "surrogate_trace", (48.8, 11.3, 9.1)),
    ("llama", _R1, _WEAK, "inverted_summary", (50.2, 24.2, 8.8)),
    ("llama", _R1, _STRONG, "inverted_summary", (59.2, 26.1, 9.9)),
    ("llama", _R1, _WEAK, "inverted_answer", (44.8, 16.3, 9.2)),
    ("llama", _R1, _STRONG, "inverted_answer", (62.0, 25.2, 8.6)),
    ("llama", _R1, None, "oracle", (59.6, 23.8, 9.8)),
    ("qwen", _GPT, None, "answer_only", (68.4, 27.6, 0.8)),
    ("qwen", _GPT, None, "summary_answer", (19.8, 1.6, 0.0)),
    ("qwen", _GPT, _STRONG, "inverted_summary", (76.0, 43.7, 28.9)),
    ("qwen", _GPT, _WEAK, "inverted_summary", (73.2, 31.6, 25.6)),
    ("qwen", _GPT, None, "inverted_answer", (71.8, 41.6, 27.7)),
]
"""Student, target, surrogate (None: any), condition, accuracy in % on MATH500, JEEBench and LiveCodeBench."""


def papers_numbers(study: Study, target: Target) -> pl.DataFrame:
    """Return the paper's accuracies for the student, target and surrogate of a study, as far as it studied them.

    Returns:
        `benchmark` (kind), `condition`, `paper` (accuracy, %); no rows where the paper's setting was another.
    """
    student = next((key for key, name in _STUDENTS.items() if name.lower() in study.student.name.lower()), None)
    whom = _named(_TARGETS, target.model)
    surrogate = _named(_SURROGATES, study.surrogate.name)
    rows = [
        {"benchmark": benchmark, "condition": condition, "paper": accuracy}
        for key, of, by, condition, accuracies in _ROWS
        if key == student and of == whom and by in (None, surrogate)
        for benchmark, accuracy in zip(_BENCHMARKS, accuracies, strict=True)
    ]
    return pl.DataFrame(rows, schema={"benchmark": pl.String, "condition": pl.String, "paper": pl.Float64})


def _named(known: dict[str, tuple[str, ...]], model: str) -> str | None:
    """Return which of the known models a name stands for; a date behind it is the same model."""
    base = model.rpartition("/")[2].lower()
    for name, beginnings in known.items():
        for beginning in beginnings:
            rest = base.removeprefix(beginning)
            if rest != base and not rest.strip("-0123456789"):
                return name
    return None
