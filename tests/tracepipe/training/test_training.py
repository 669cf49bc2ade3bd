"""Rendering, its gates with planted faults, training with TRL, and checkpoints."""

from pathlib import Path

import polars as pl
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tests.conftest import MODELS
from tracepipe.checkpoints import Checkpoints, Manifest, training_gates
from tracepipe.compute import InProcessCompute, PoolCompute
from tracepipe.engines.generation import Asking
from tracepipe.engines.settings import Sampling, TransformersEngine
from tracepipe.identity import weights_id
from tracepipe.records import EXAMPLES, from_rows
from tracepipe.text import reasoned
from tracepipe.training.recipe import Recipe
from tracepipe.training.render import IGNORED, faults, render
from tracepipe.workbench import GenerationJob, TrainingJob, Workbench

BASE = str(MODELS / "base")
PROMPT, TRACE, ANSWER = "problem start 1 A -2 B +1", "A -2 10 B +1 0", r"B \boxed{ 0 }"
RECIPE = Recipe(
    learning_rate=0.004, max_steps=12, batch_size=4, micro_batch_size=4, bf16=False, gradient_checkpointing=False
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(BASE)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(InProcessCompute(threads=1), tmp_path / "work", Checkpoints(tmp_path / "checkpoints"))


def examples(count: int = 8) -> pl.DataFrame:
    rows = []
    for start in range(count):
        trace, answer = f"A +1 {start + 1}", rf"A \boxed{{ {start + 1} }}"
        rows.append(
            {
                "example_id": f"e_{start}",
                "condition": "oracle",
                "prompt_id": f"p_{start}",
                "request_key": f"r_{start}",
                "prompt": f"problem start {start} A +1",
                "trace": trace,
                "completion": reasoned(trace, answer),
                "phase": 0,
            }
        )
    return from_rows(rows, EXAMPLES)


def found_faults(
    tokenizer: PreTrainedTokenizerFast, completion: str, trace: str | None, max_length: int = 256
) -> set[str]:
    row = render(tokenizer, PROMPT, completion)
    return set(faults(tokenizer, row, PROMPT, completion, trace, max_length))


def test_a_sound_row_learns_the_trace_the_answer_and_the_end(tokenizer: PreTrainedTokenizerFast):
    completion = reasoned(TRACE, ANSWER)
    row = render(tokenizer, PROMPT, completion)
    learnt = [label for label in row.labels if label != IGNORED]
    assert tokenizer.decode(learnt) == f"{completion} {tokenizer.eos_token}"
    assert found_faults(tokenizer, completion, TRACE) == set()
    assert found_faults(tokenizer, ANSWER, None) == set()
    assert found_faults(tokenizer, TRACE, TRACE) == set()


def test_a_row_over_the_limit_is_named_before_training_could_cut_it(tokenizer: PreTrainedTokenizerFast):
    assert found_faults(tokenizer, reasoned(TRACE, ANSWER), TRACE, max_length=10) == {"fits_max_length"}


@pytest.mark.parametrize(
    ("completion", "trace", "gate"),
    [
        (ANSWER, TRACE, "trace_kept"),
        (reasoned(f"{TRACE} <think> {TRACE}", ANSWER), TRACE, "think_block_single"),
        (reasoned("A -2 10", ANSWER), TRACE, "trace_kept"),
        (reasoned(TRACE, ANSWER), None, "trace_kept"),
    ],
)
def test_a_trace_that_is_dropped_doubled_or_shortened_is_named(
    tokenizer: PreTrainedTokenizerFast, completion: str, trace: str | None, gate: str
):
    assert found_faults(tokenizer, completion, trace) == {gate}


def test_a_row_without_its_end_is_named(tokenizer: PreTrainedTokenizerFast):
    completion = reasoned(TRACE, ANSWER)
    row = render(tokenizer, PROMPT, completion)
    cut = type(row)(row.input_ids[:-1], row.labels[:-1])
    assert set(faults(tokenizer, cut, PROMPT, completion, TRACE, 256)) == {"ends_in_eos"}


def test_a_row_whose_prompt_is_not_what_serving_would_send_is_named(tokenizer: PreTrainedTokenizerFast):
    completion = reasoned(TRACE, ANSWER)
    row = render(tokenizer, f"list {PROMPT}", completion)
    assert "prompt_as_served" in set(faults(tokenizer, row, PROMPT, completion, TRACE, 256))


def test_the_render_gates_name_the_faulty_example(bench: Workbench):
    rows = examples().with_columns(
        trace=pl.when(pl.col("example_id") == "e_3").then(pl.lit("A +2 9")).otherwise(pl.col("trace"))
    )
    failed = {gate.name: gate.rows for gate in bench.render_gates(BASE, rows, 256) if not gate.passed}
    assert failed == {"trace_kept": ("e_3",)}


def job(seed: int = 0, recipe: Recipe = RECIPE) -> TrainingJob:
    return TrainingJob("test", "student/oracle", BASE, examples(), recipe, seed)


def test_training_changes_the_weights_lowers_the_loss_and_saves_a_model_that_generates(bench: Workbench):
    (manifest,) = bench.train([job()])
    folder = bench.checkpoints.path(manifest.checkpoint_id)
    assert all(gate.passed for gate in training_gates([manifest]))
    assert weights_id(str(folder)) == manifest.weights != weights_id(BASE)
    assert sorted(path.suffix for path in folder.glob("*.bin")) == []
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "qwen3"
    assert {path.name for path in bench.checkpoints.root.iterdir()} == {manifest.checkpoint_id}


def test_the_same_checkpoint_is_never_trained_twice_and_another_seed_is_another_one(bench: Workbench):
    (first,) = bench.train([job()])
    weights = bench.checkpoints.path(first.checkpoint_id) / "model.safetensors"
    written = weights.stat().st_mtime_ns
    again, other = bench.train([job(), job(seed=1)])
    assert again == first
    assert weights.stat().st_mtime_ns == written
    assert other.checkpoint_id != first.checkpoint_id
    assert other.weights != first.weights


def test_a_pool_of_processes_trains_the_same_weights(bench: Workbench, tmp_path: Path):
    (here,) = bench.train([job()])
    pool = PoolCompute(processes=1, threads=1)
    try:
        (there,) = Workbench(pool, tmp_path / "w2", Checkpoints(tmp_path / "c2")).train([job()])
    finally:
        pool.close()
    assert (there.checkpoint_id, there.weights, there.losses) == (here.checkpoint_id, here.weights, here.losses)


def test_training_that_did_nothing_fails_its_gates():
    idle = Manifest(
        checkpoint_id="c_1",
        role="student/oracle",
        base_weights="w",
        dataset_hash="d",
        recipe_hash="r",
        seed=0,
        weights="w",
        changed=0.0,
        examples=8,
        losses=[0.5, 0.5, 0.6],
        sample=" ",
        seconds=1.0,
    )
    assert {gate.name for gate in training_gates([idle]) if not gate.passed} == {
        "weights_changed",
        "checkpoint_generates",
        "loss_fell",
    }


def test_generation_keeps_ids_and_finish_reasons_and_is_not_repeated(bench: Workbench):
    requests = pl.DataFrame(
        {"id": ["long", "short"], "prompt": ["problem start 1 " + " ".join(["A +1"] * 9), "problem start 1 A +1"]}
    )
    asking = Asking(TransformersEngine(), Sampling(temperature=0, max_new_tokens=12))
    (first,) = bench.generate([GenerationJob("test", BASE, requests, asking, 0)])
    assert first["id"].to_list() == ["long", "short"]
    assert first["finish_reason"].to_list() == ["length", "stop"]
    assert first["output_tokens"].to_list() == [12, len(first["text"][1].split()) + 1]
    generated = {path: path.stat().st_mtime_ns for path in (bench.work / "generated").iterdir()}
    (again,) = bench.generate([GenerationJob("test", BASE, requests.reverse(), asking, 0)])
    (same,) = bench.generate([GenerationJob("test", BASE, requests, asking, 0)])
    assert same.equals(first)
    assert again.sort("id").drop("request_key").equals(first.sort("id").drop("request_key"))
    assert all(path.stat().st_mtime_ns == written for path, written in generated.items())
