"""Cards in the hub's format: source, licences, the target's terms, recipe, gates and limits of what is exported."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.lineage.links import FAMILIES, family_of
from tracepipe.problems import MiniaturePrompts
from tracepipe.report.limits import MINIATURE_CAUTION
from tracepipe.report.tables import Grid, comparison_grid, escaped
from tracepipe.store import Event
from tracepipe.study import Study
from tracepipe.target import Target

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_TAGS = ["tracepipe", "trace-inversion", "arxiv:2603.07267"]
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
_MADE_UP = ("inverted_traces", "zero_shot_traces", "student_examples", "inverter")
LINEAGE = "lineage.json"


def dataset_card(
    study: Study, target: Target | None, event: Event, history: Sequence[Event], rows: pl.DataFrame
) -> str:
    """Write the card of an exported table.

    Args:
        study: The study.
        target: Whose it is; None for a table of the study.
        event: The version exported.
        history: Its event and those of all it was made from.
        rows: The table.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    about = DatasetCardData(
        license="other",
        pretty_name=_title(event),
        tags=_TAGS,
        task_categories=["text-generation"],
        size_categories=next((name for size, name in _SIZES.items() if event.rows < size), "n>1M"),
        configs=[{"config_name": "default", "data_files": "data/*.parquet"}],
    )
    table = FAMILIES[family_of(event.asset)].table
    columns = Grid(
        ("column", "type", "meaning"),
        tuple((name, type_, table[name].meaning) for name, type_ in event.columns.items()),
    )
    text = _common(study, target, event, history) | {
        "what": f"{_noun(event)}, {event.rows:,} rows",
        "limits": _listed(_limits(study, event, rows)),
        "columns": columns.markdown(),
    }
    return str(DatasetCard.from_template(about, template_path=str(_TEMPLATE), **text))


def model_card(
    study: Study,
    target: Target | None,
    event: Event,
    history: Sequence[Event],
    row: dict[str, Any],
    comparison: pl.DataFrame | None,
) -> str:
    """Write the card of an exported checkpoint.

    Args:
        study: The study.
        target: Whose outputs it was trained on; None for an inverter.
        event: The version of the table that names it.
        history: That event and those of all it was made from.
        row: Its row of CHECKPOINTS.
        comparison: COMPARISON of its condition, where it was measured.
    """
    from huggingface_hub import ModelCard, ModelCardData

    base = event.models.get(row["base_weights"], row["base_weights"])
    about = ModelCardData(
        license="other",
        model_name=f"{_title(event)}, {row['checkpoint_id']}",
        tags=_TAGS,
        pipeline_tag="text-generation",
        library_name="transformers",
        **({"base_model": base} if "/" in base else {}),
    )
    named = ("role", "seed", "base_weights", "dataset_hash", "recipe_hash", "weights", "examples")
    facts = {
        **{name: row[name] for name in named},
        "base": base,
        "last loss": row["losses"][-1] if row["losses"] else None,
    }
    trained = Grid(("of this checkpoint", ""), tuple((name, str(value)) for name, value in facts.items()))
    text = _common(study, target, event, history) | {
        "what": f"{_noun(event)}, fine-tuned by completion-only loss",
        "limits": _listed(_limits(study, event, None)),
        "columns": trained.markdown(),
        "scores": None if comparison is None or not comparison.height else comparison_grid(comparison).markdown(),
    }
    return str(ModelCard.from_template(about, template_path=str(_TEMPLATE), **text))


def lineage_json(history: Sequence[Event]) -> bytes:
    """Return the events behind an export as JSON."""
    return json.dumps([asdict(event) for event in history], indent=1, ensure_ascii=False).encode()


def _title(event: Event) -> str:
    return f"{event.study}: {event.asset} ({event.partition})"


def _noun(event: Event) -> str:
    return FAMILIES[family_of(event.asset)].noun


def _common(study: Study, target: Target | None, event: Event, history: Sequence[Event]) -> dict[str, Any]:
    return {
        "title": escaped(_title(event)),
        "study": escaped(study.description),
        "event": event,
        "source_name": _source_name(study),
        "target": target,
        "models": _listed(_models(target, history)),
        "config": json.dumps(event.config, indent=1, ensure_ascii=False),
        "gates": _gates(history).markdown(),
    }


def _models(target: Target | None, history: Sequence[Event]) -> list[str]:
    given = {f"`{name}` ({weights})" for one in history for weights, name in one.models.items()}
    return sorted(given) + ([f"the target `{target.model}`, which exposes: {target.exposes}"] if target else [])


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _source_name(study: Study) -> str:
    source = study.prompts.source
    if isinstance(source, MiniaturePrompts):
        return "problems drawn by TracePipe's miniature world (Apache-2.0)"
    name = Path(source.path).name if source.path.startswith("/") else source.path
    return f"`{escaped(name)}`; its licence is not recorded by TracePipe, look it up before you share"


def _gates(history: Sequence[Event]) -> Grid:
    rows = [
        (event.asset, gate.name, "passed" if gate.passed else "FAILED", gate.summary)
        for event in history
        for gate in event.gates
    ]
    return Grid(("table", "gate", "verdict", "counted"), tuple(sorted(rows)))


def _limits(study: Study, event: Event, rows: pl.DataFrame | None) -> list[str]:
    found = [MINIATURE_CAUTION] if isinstance(study.prompts.source, MiniaturePrompts) else []
    if family_of(event.asset) in _MADE_UP:
        found.append("Inverted traces are written by a model from what the target showed: they are not its reasoning.")
    if rows is not None and "outcome" in rows.columns:
        counted = rows["outcome"].value_counts().sort("outcome").iter_rows()
        found.append(f"Rows by outcome: {', '.join(f'{name} {count}' for name, count in counted)}; only `ok` is whole.")
    if family_of(event.asset) == "student":
        found.append(
            "Read no accuracy without its interval, truncation and no-answer rate; one seed supports no claim."
        )
    return [*found, "Texts are written by models and may be wrong."]
