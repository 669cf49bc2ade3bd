"""Run one model step from its specification: in this process, or as `python -m tracepipe.worker SPEC.json`.

Under another interpreter, on another machine, or as one of several processes that train together, the step is the
same; where Dagster Pipes started the process, progress and figures go back through it.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe import progress
from tracepipe.checkpoints import Checkpoints, Manifest
from tracepipe.engines.generation import Generated, LocalEngine, ask, call_of, generated_frame, open_engine
from tracepipe.engines.settings import Sampling, TransformersEngine
from tracepipe.engines.transformers import Transformers
from tracepipe.files import write_atomically, write_parquet
from tracepipe.identity import digest, weights_id
from tracepipe.mirror import mirror_at
from tracepipe.steps import STEPS, GenerateSpec, LikelihoodSpec, RenderSpec, StepSpec, TemplateSpec, TrainSpec, arrived
from tracepipe.tether import end_with_parent
from tracepipe.training.sft import devices, rank

Figures = dict[str, Any]
"""What a step reports beside its files: label, seconds, and what it counted."""

_FIRST_WORDS = Sampling(temperature=0, max_new_tokens=16)


def run(spec: StepSpec, made: Callable[[Path], None] = lambda _: None) -> Figures:
    """Run a step; its results are the files the specification names.

    Args:
        spec: The step.
        made: Told of each part of a result as soon as it is on disk.
    """
    started = time.monotonic()
    steps: dict[type, Callable[[Any], Figures]] = {
        GenerateSpec: lambda generation: _generate(generation, made),
        TrainSpec: _train,
        RenderSpec: _render,
        TemplateSpec: _templates,
        LikelihoodSpec: _likelihoods,
    }
    figures = steps[type(spec)](spec)
    return {"label": spec.label, "seconds": round(time.monotonic() - started, 3), **figures, **_memory()}


def _memory() -> Figures:
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"GPU memory GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def _generate(spec: GenerateSpec, made: Callable[[Path], None]) -> Figures:
    """Answer chunk after chunk: a chunk that is on disk is not asked again."""
    requests = pl.read_parquet(spec.requests)
    waiting = [chunk for chunk in spec.chunks if not spec.part(chunk).exists()]
    asked = requests.filter(pl.col("chunk").is_in(waiting))
    rows = tokens = 0
    if asked.height == 0:
        return {"rows": 0}
    engine = open_engine(spec.engine, spec.model, Path(spec.parts) / "server.log")
    try:
        with progress.task(spec.label, asked["request_key"].n_unique()) as advance:
            for chunk in waiting:
                frame = _chunk(spec, engine, asked.filter(chunk=chunk), advance)
                write_parquet(frame, spec.part(chunk))
                made(spec.part(chunk))
                rows, tokens = rows + frame.height, tokens + int(frame["output_tokens"].sum())
    finally:
        engine.close()
    return {"rows": rows, "tokens written": tokens}


def _chunk(spec: GenerateSpec, engine: LocalEngine, asked: pl.DataFrame, advance: progress.Advance) -> pl.DataFrame:
    ids: dict[str, list[str]] = defaultdict(list)
    prompts: dict[str, str] = {}
    for row in asked.iter_rows(named=True):
        ids[row["request_key"]].append(row["id"])
        prompts[row["request_key"]] = row["prompt"]
    calls = [call_of(engine.tokenizer, key, prompt, spec.thinking) for key, prompt in prompts.items()]
    made: list[Generated] = []
    for one in engine.generate(calls, spec.sampling):
        made.append(one)
        advance(1)
    if {one.key for one in made} != set(prompts):
        raise RuntimeError(f"{spec.label}: the engine did not answer every call once")
    return generated_frame(ids, made)


def _train(spec: TrainSpec) -> Figures:
    from tracepipe.training.sft import Run, fine_tune

    examples = pl.read_parquet(spec.examples)
    pairs = list(zip(examples["prompt"], examples["completion"], strict=True))
    phases = examples["phase"].to_list()
    checkpoints = Checkpoints(Path(spec.checkpoints))
    work = Run(
        scratch=checkpoints.scratch(spec.checkpoint_id),
        curves=checkpoints.root.parent / "curves" / spec.checkpoint_id,
        report_to=spec.training.report_to,
    )

    def build(folder: Path) -> Manifest:
        from tracepipe.training.weights import changed_share

        started = time.monotonic()
        losses = fine_tune(spec.base, pairs, spec.recipe, spec.seed, folder, spec.label, work, spec.thinking, phases)
        seconds = time.monotonic() - started
        return Manifest(
            checkpoint_id=spec.checkpoint_id,
            role=spec.role,
            base_weights=spec.base_weights,
            dataset_hash=spec.dataset_hash,
            recipe_hash=digest(spec.recipe.model_dump(mode="json")),
            seed=spec.seed,
            weights=weights_id(str(folder)),
            changed=changed_share(spec.base, folder),
            examples=len(pairs),
            losses=losses.training,
            validation_losses=losses.validation,
            sample=_first_words(folder, pairs[0][0], spec.thinking),
            seconds=seconds,
            first_phase=phases.count(min(phases)) / len(phases),
        )

    if rank() == 0:
        checkpoints.create(spec.checkpoint_id, build)
        shutil.rmtree(work.scratch, ignore_errors=True)
    else:
        fine_tune(spec.base, pairs, spec.recipe, spec.seed, work.scratch, spec.label, work, spec.thinking, phases)
    return {"examples": len(pairs), "devices": devices()}


def _first_words(folder: Path, prompt: str, thinking: bool | None) -> str:
    """What a saved checkpoint, loaded again, writes first."""
    engine = Transformers(str(folder), TransformersEngine())
    return ask(engine, [prompt], _FIRST_WORDS, thinking)[0].text


def _render(spec: RenderSpec) -> Figures:
    from transformers import AutoTokenizer

    from tracepipe.training.render import RENDER_GATES, faults, render

    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    faulty: dict[str, list[str]] = {name: [] for name in RENDER_GATES}
    examples = pl.read_parquet(spec.examples)
    for example in examples.iter_rows(named=True):
        prompt, completion, trace = example["prompt"], example["completion"], example["trace"]
        row = render(tokenizer, prompt, completion, spec.thinking)
        for name in faults(tokenizer, row, prompt, completion, trace, spec.max_length, spec.thinking):
            faulty[name].append(example["example_id"])
    write_atomically(Path(spec.output), json.dumps(faulty).encode())
    return {"rows": examples.height}


def _templates(spec: TemplateSpec) -> Figures:
    from transformers import AutoTokenizer

    from tracepipe.templates import describe

    found = [
        describe(AutoTokenizer.from_pretrained(one.model), one.role, one.thinking, one.max_length, spec.sample)
        for one in spec.roles
    ]
    write_atomically(Path(spec.output), json.dumps(found).encode())
    return {"roles": len(found)}


def _likelihoods(spec: LikelihoodSpec) -> Figures:
    from tracepipe.engines.likelihood import LIKELIHOODS, likelihoods

    rows, found = pl.read_parquet(spec.rows), []
    with progress.task(spec.label, rows.height) as advance:
        for one in likelihoods(spec.model, rows, spec.thinking):
            found.append(one)
            advance(1)
    write_parquet(pl.DataFrame(found, schema=LIKELIHOODS), Path(spec.output))
    return {"rows": rows.height}


def _main() -> None:
    """Run the step of a file; among processes that train together, the first one speaks for all."""
    parser = argparse.ArgumentParser(prog="python -m tracepipe.worker")
    parser.add_argument("spec", help="a step as JSON: a file, or s3://... from a machine with another home")
    parser.add_argument("--threads", type=int, help="PyTorch threads")
    arguments = parser.parse_args()
    end_with_parent()
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    with ExitStack() as held:
        tell = _speak(held)
        if arguments.spec.startswith("s3://"):
            tell(_run_from_afar(arguments.spec))
        else:
            tell(run(STEPS.validate_json(Path(arguments.spec).read_bytes())))


def _run_from_afar(place: str) -> Figures:
    """Run a step whose files are on S3: fetch what it reads, and put there what it makes, each chunk when it is done.

    What it makes goes up while it runs, and what an earlier try has put there is not made again.
    """
    url, _, name = place.rpartition("/specs/")
    root = Path(os.environ.get("TRACEPIPE_HOME") or Path(tempfile.gettempdir()) / "tracepipe")
    mirror = mirror_at(root, url)
    file = root / "specs" / name
    if not mirror.pull(file):
        raise FileNotFoundError(f"{place} is not there")
    spec = arrived(file.read_text(encoding="utf-8"), root)
    for path in [*spec.inputs(), *spec.outputs()]:
        if path.is_relative_to(root) and not mirror.pull(path):
            mirror.pull_folder(path)
    figures = run(spec, mirror.push)
    for path in spec.outputs():
        if rank() == 0:
            mirror.push(path)
    return figures


def _speak(held: ExitStack) -> Callable[[Figures], None]:
    """Send progress to whoever started this process; returns where a step's figures go."""
    if rank() != 0:
        progress.report_to(lambda *_: None)
        return lambda _: None
    if "DAGSTER_PIPES_CONTEXT" in os.environ:
        from dagster_pipes import open_dagster_pipes

        pipes = held.enter_context(open_dagster_pipes())
        progress.report_to(progress.LineReport(pipes.log.info))
        return pipes.report_custom_message
    progress.report_to(progress.LineReport(lambda line: print(line, flush=True)))
    return lambda figures: print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    _main()
