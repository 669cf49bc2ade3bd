"""The surrogate's traces and their summaries: what inverters learn from."""

from collections.abc import Mapping

from assets.exposures import add_surrogate_exposures
from assets.graph import Graph
from assets.metadata import counts
from assets.pictures import loss_picture
from assets.step import Made, Step, TableAsset, checkpoints_exist
from tracepipe import compression, inversion, surrogate, templates
from tracepipe.checkpoints import TRAINING_GATES, checkpoint_rows, training_gates, training_seconds
from tracepipe.conditions import UNTRAINED_RENDERS
from tracepipe.records import CHAT_TEMPLATES, CHECKPOINTS, EXAMPLES, SURROGATE_SUMMARIES, SURROGATE_TRACES
from tracepipe.roles import Exposure, FunctionCompressor
from tracepipe.steps import TemplatedRole
from tracepipe.training import sft
from tracepipe.training.render import RENDER_GATES


def add_surrogate(graph: Graph) -> None:
    """Add `surrogate_traces`, `surrogate_summaries`, `inverter_examples` and one `inverter/<exposure>` each."""
    study = graph.study
    _add_templates(graph)
    graph.add(
        TableAsset(
            name="surrogate_traces",
            stage="surrogate",
            partitioned=False,
            description="The surrogate answers its prompts with visible traces: (x', t', y'), paper section 3.",
            table=SURROGATE_TRACES,
            version=surrogate.VERSION,
            config={"calls": study.surrogate.identity() | {"seed": study.derived_seed("surrogate")}},
            given=(study.surrogate,),
            # A template that would spoil what is generated or trained stops the study before any GPU is used.
            reads=("prompts", "chat_templates"),
            gates={
                "one_row_per_prompt": "every prompt asked has exactly one row",
                "most_rows_usable": "at least half of the rows have a trace and an answer",
            },
            gpu=True,
            make=_surrogate_traces,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )
    compressor = study.compressor
    models = () if isinstance(compressor, FunctionCompressor) else (compressor,)
    asked = compressor.model_dump(mode="json") if isinstance(compressor, FunctionCompressor) else compressor.identity()
    graph.add(
        TableAsset(
            name="surrogate_summaries",
            stage="surrogate",
            partitioned=False,
            description="The compressor, prompted and never trained, writes target-style summaries b' of the traces "
            "(paper section 3).",
            table=SURROGATE_SUMMARIES,
            version=compression.VERSION,
            config={"calls": asked | {"seed": study.derived_seed("compressor")}},
            given=models,
            reads=("prompts", "surrogate_traces"),
            gates={"one_row_per_trace": "every usable trace has exactly one summary"},
            gpu=bool(models),
            make=_surrogate_summaries,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )
    add_surrogate_exposures(graph)
    exposed = {name: f"surrogate_exposures/{name}" for name in study.exposures if name in study.policies}
    graph.add(
        TableAsset(
            name="inverter_examples",
            stage="inverter",
            partitioned=False,
            description="Training rows of the inverters, (x', y'[, b']) -> t', the same prompts for every exposure "
            "(paper section 3).",
            table=EXAMPLES,
            version=inversion.VERSION,
            config={
                "wording": {name: wording.model_dump() for name, wording in study.inverter.wording.items()},
                "exposures": {name: study.learnt_from(name) for name in study.exposures},
                "weights": study.inverter.identity()["weights"],
                "max_length": study.inverter.recipe.max_length,
                "thinking": study.inverter.thinking,
            },
            given=(study.inverter,),
            reads=("prompts", "surrogate_traces", "surrogate_summaries", *exposed.values()),
            gates={name: f"no {what}" for name, what in RENDER_GATES.items()},
            make=lambda step: _inverter_examples(step, exposed),
            describe=lambda frame: counts(frame, "condition"),
        )
    )
    for exposure in study.exposures:
        _add_inverter(graph, exposure)


def _add_templates(graph: Graph) -> None:
    study = graph.study
    models = templates.roles(study)
    trained = {"inverter": study.inverter.recipe.max_length, "student": study.student.recipe.max_length}
    looked_at = [
        TemplatedRole(role=name, model=role.model, thinking=role.thinking, max_length=trained.get(name))
        for name, role in models
    ]

    def make(step: Step) -> Made:
        shortest = min(step.read("prompts")["prompt"], key=len)
        table = templates.template_table(step.study, step.bench.templates(looked_at, shortest))
        return Made(table, templates.template_gates(step.study, table))

    graph.add(
        TableAsset(
            name="chat_templates",
            stage="prompts",
            partitioned=False,
            description="What every role's chat template does to think blocks, in training and in serving, before any "
            "GPU is used.",
            table=CHAT_TEMPLATES,
            version=templates.VERSION,
            config={
                "roles": [
                    [one.role, role.identity()["weights"], one.thinking, one.max_length]
                    for one, (_, role) in zip(looked_at, models, strict=True)
                ],
                "untrained renders": sorted(set(study.conditions) & set(UNTRAINED_RENDERS)),
            },
            given=tuple(role for _, role in models),
            reads=("prompts",),
            gates={name: f"no {what}" for name, what in templates.TEMPLATE_GATES.items()},
            make=make,
        )
    )


def _surrogate_traces(step: Step) -> Made:
    prompts = step.read("prompts")
    traces = surrogate.surrogate_traces(step.study, prompts, step.bench)
    return Made(traces, surrogate.trace_gates(prompts, traces))


def _surrogate_summaries(step: Step) -> Made:
    traces = step.read("surrogate_traces")
    summaries = compression.surrogate_summaries(step.study, step.read("prompts"), traces, step.bench)
    return Made(summaries, compression.summary_gates(traces, summaries))


def _inverter_examples(step: Step, exposed: Mapping[Exposure, str]) -> Made:
    prompts, traces, summaries = (step.read(name) for name in ("prompts", "surrogate_traces", "surrogate_summaries"))
    shown = {exposure: step.read(name) for exposure, name in exposed.items()}
    examples = inversion.inverter_examples(step.study, prompts, traces, summaries, shown)
    inverter = step.study.inverter
    gates = step.bench.render_gates(inverter.model, examples, inverter.recipe.max_length, inverter.thinking)
    return Made(examples, gates)


def _add_inverter(graph: Graph, exposure: Exposure) -> None:
    study = graph.study
    given = "the answer alone" if exposure == "answer" else f"the answer and what {exposure} shows"

    def make(step: Step) -> Made:
        manifest = inversion.train_inverter(step.study, exposure, step.read("inverter_examples"), step.bench)
        rows = checkpoint_rows(f"inverter/{exposure}", [(step.study.seed, manifest)])
        return Made(rows, training_gates([manifest]), training_seconds([manifest]))

    graph.add(
        TableAsset(
            name=f"inverter/{exposure}",
            stage="inverter",
            partitioned=False,
            description=f"Fine-tuned to write a trace from {given}; loss on the trace only (paper section 3).",
            table=CHECKPOINTS,
            version=sft.VERSION,
            config={
                "recipe": study.inverter.recipe.model_dump(mode="json"),
                "thinking": study.inverter.thinking,
                "weights": study.inverter.identity()["weights"],
                "seeds": [study.derived_seed("inverter", *study.learnt_from(exposure))],
            },
            given=(study.inverter,),
            reads=("inverter_examples",),
            gates={name: f"no {what}" for name, what in TRAINING_GATES.items()},
            kinds=frozenset({"huggingface", "pytorch"}),
            gpu=True,
            make=make,
            intact=checkpoints_exist,
            describe=loss_picture,
        )
    )
