"""The engine for transformers: rows come and go, and what each says is its own."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.families import checkpoint
from tracepipe.checkpoints import Checkpoints
from tracepipe.compute import InProcessCompute
from tracepipe.engines.generation import Asking, EngineError, ask, call_of
from tracepipe.engines.settings import Sampling, TransformersEngine
from tracepipe.engines.transformers import Transformers, write
from tracepipe.workbench import GenerationJob, Workbench

PROMPTS = [f"What is {number} + {'1' * (number % 7)}?" + " Well" * (number % 5) for number in range(23)]
GREEDY = Sampling(temperature=0, repetition_penalty=1.3, max_new_tokens=24)
DRAWN = Sampling(temperature=1.0, top_p=0.9, top_k=40, repetition_penalty=1.1, max_new_tokens=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("qwen3", tmp_path_factory.mktemp("model"), hidden=64)


def texts(folder: Path, sampling: Sampling, slots: int, prompts: list[str] = PROMPTS) -> list[str]:
    engine = Transformers(str(folder), TransformersEngine(slots=slots))
    return [one.text for one in ask(engine, prompts, sampling, thinking=True)]


@pytest.mark.parametrize("slots", [1, 3, 8, 64])
def test_greedy_text_is_that_of_the_librarys_own_generate_one_by_one(folder: Path, slots: int):
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt, found in zip(PROMPTS, texts(folder, GREEDY, slots), strict=True):
        tokens = torch.tensor([call_of(tokenizer, "r_0", prompt, True).tokens])
        written = model.generate(tokens, max_new_tokens=24, do_sample=False, repetition_penalty=1.3)
        assert found == tokenizer.decode(written[0, tokens.shape[1] :], skip_special_tokens=True).strip()


def test_what_a_row_draws_depends_on_nothing_beside_it(folder: Path):
    alone = texts(folder, DRAWN, 1)
    assert texts(folder, DRAWN, 5) == alone
    assert texts(folder, DRAWN, 64) == alone
    engine = Transformers(str(folder), TransformersEngine(slots=4))
    calls = [call_of(engine.tokenizer, f"r_{number:x}", prompt, True) for number, prompt in enumerate(PROMPTS)]
    forwards = {one.key: one.text for one in engine.generate(calls, DRAWN)}
    backwards = {one.key: one.text for one in engine.generate(calls[::-1], DRAWN)}
    assert forwards == backwards
    assert len(set(forwards.values())) > len(PROMPTS) / 2


def test_another_seed_draws_otherwise_and_the_same_seed_the_same(folder: Path, tmp_path: Path):
    bench = Workbench(InProcessCompute(threads=1), tmp_path / "work", Checkpoints(tmp_path / "checkpoints"))
    requests = pl.DataFrame({"id": [str(number) for number in range(8)], "prompt": PROMPTS[:8]})
    asking = Asking(TransformersEngine(slots=4), DRAWN, thinking=True)
    one, two, again = (
        bench.generate([GenerationJob("ask", str(folder), requests, asking, seed)])[0] for seed in (0, 1, 0)
    )
    assert again.equals(one)
    assert one["text"].to_list() != two["text"].to_list()


def test_draws_follow_the_models_probabilities(folder: Path):
    """Frequencies of a first token over many seeds are those of the softmax."""
    engine = Transformers(str(folder), TransformersEngine(slots=256))
    sampling = Sampling(temperature=0.7, top_p=1, repetition_penalty=1, max_new_tokens=1)
    calls = [call_of(engine.tokenizer, f"r_{number:x}", "What is 2?", True) for number in range(2000)]
    with torch.no_grad():
        logits = engine._model(torch.tensor([calls[0].tokens])).logits[0, -1]
    expected = (logits / 0.7).softmax(-1)
    best = int(expected.argmax())
    said = [engine.tokenizer.decode([token], skip_special_tokens=True).strip() for token in range(len(expected))]
    wanted = said[best]
    assert 0.01 < float(expected[best]) < 0.9
    share = sum(one.text == wanted for one in engine.generate(calls, sampling)) / 2000
    likely = float(expected[[token for token, text in enumerate(said) if text == wanted]].sum())
    assert abs(share - likely) < 4 * (likely * (1 - likely) / 2000) ** 0.5


def test_a_row_at_its_cap_says_length_and_one_that_ends_says_stop(folder: Path):
    engine = Transformers(str(folder), TransformersEngine(slots=4))
    found = ask(engine, PROMPTS, DRAWN.model_copy(update={"max_new_tokens": 5}), thinking=True)
    assert {one.finish_reason for one in found if one.output_tokens < 5} <= {"stop"}
    assert any(one.finish_reason == "length" and one.output_tokens == 5 for one in found)
    assert all(one.prompt_text.startswith("<|im_start|>user") for one in found)


def test_a_prompt_that_fills_the_context_is_named(folder: Path):
    engine = Transformers(str(folder), TransformersEngine())
    with pytest.raises(EngineError, match=r"r_a: its prompt of \d+ tokens fills the model's context of 512"):
        list(engine.generate([call_of(engine.tokenizer, "r_a", "word " * 900)], GREEDY))


def test_a_model_with_other_memory_than_keys_and_values_is_refused_by_name(folder: Path):
    engine = Transformers(str(folder), TransformersEngine())
    engine._model.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(EngineError, match="layers of kind linear_attention; use engine: vllm"):
        list(write(engine._model, engine.tokenizer, [], GREEDY, 4))


def test_chunks_are_durable_and_a_killed_step_goes_on_with_the_missing_ones(folder: Path, tmp_path: Path):
    requests = pl.DataFrame({"id": [f"i{number}" for number in range(23)], "prompt": PROMPTS})
    asking = Asking(TransformersEngine(slots=4, chunk_rows=5), DRAWN, thinking=True)
    job = GenerationJob("ask", str(folder), requests, asking, 0)

    class Killed(RuntimeError):
        pass

    class Dying(InProcessCompute):
        def run(self, specs: Any) -> None:
            (spec,) = specs
            super().run([spec.model_copy(update={"chunks": spec.chunks[:2]})])
            raise Killed

    def bench(compute: InProcessCompute, place: str) -> Workbench:
        return Workbench(compute, tmp_path / place, Checkpoints(tmp_path / "checkpoints"))

    with pytest.raises(Killed):
        bench(Dying(1), "killed").generate([job])
    (parts,) = (tmp_path / "killed" / "generated").glob("*.parts")
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert {path.stem for path in kept} == {"0", "1"}
    specs = bench(InProcessCompute(1), "killed")._generation(job).specs
    assert specs[0].chunks == (2, 3, 4)
    (resumed,) = bench(InProcessCompute(1), "killed").generate([job])
    (unbroken,) = bench(InProcessCompute(1), "unbroken").generate([job])
    assert resumed.equals(unbroken)
    assert not parts.exists()


def test_replicas_share_the_chunks_and_change_no_text(folder: Path, tmp_path: Path):
    requests = pl.DataFrame({"id": [f"i{number}" for number in range(23)], "prompt": PROMPTS})

    def answers(replicas: int) -> pl.DataFrame:
        asking = Asking(TransformersEngine(slots=4, chunk_rows=5, replicas=replicas), DRAWN, thinking=True)
        bench = Workbench(InProcessCompute(1), tmp_path / str(replicas), Checkpoints(tmp_path / "checkpoints"))
        job = GenerationJob("ask", str(folder), requests, asking, 0)
        shared_out = [spec.chunks for spec in bench._generation(job).specs]
        assert shared_out == [tuple(range(5))[replica::replicas] for replica in range(replicas)]
        return bench.generate([job])[0]

    assert answers(3).equals(answers(1))


def test_a_prompt_that_stands_twice_is_asked_once_and_answered_twice(folder: Path, tmp_path: Path):
    requests = pl.DataFrame({"id": ["a", "b"], "prompt": ["What is 2?"] * 2})
    bench = Workbench(InProcessCompute(1), tmp_path / "work", Checkpoints(tmp_path / "checkpoints"))
    asking = Asking(TransformersEngine(), DRAWN, thinking=True)
    (answers,) = bench.generate([GenerationJob("ask", str(folder), requests, asking, 0)])
    assert answers["id"].to_list() == ["a", "b"]
    assert answers["text"].n_unique() == 1
