"""Chat templates of the known families: what they do, what is planted in them, and that it is found by name."""

from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import TARGETS, write_study
from tests.families import FAMILIES, checkpoint, tokenizer
from tracepipe.chat import has_switch, keeps_traces, opening, prompt_tokens, think_state
from tracepipe.checkpoints import Checkpoints, training_gates
from tracepipe.compute import InProcessCompute
from tracepipe.definitions import run_study
from tracepipe.engines.generation import Asking, ask, call_of
from tracepipe.engines.settings import Sampling, TransformersEngine
from tracepipe.engines.transformers import Transformers, generated
from tracepipe.home import Home
from tracepipe.records import EXAMPLES, from_rows
from tracepipe.study import load_study
from tracepipe.templates import describe
from tracepipe.text import reasoned, take_apart, trace_of
from tracepipe.training.recipe import Recipe
from tracepipe.training.render import IGNORED, RENDER_GATES, Rendered, faults, render
from tracepipe.workbench import GenerationJob, TrainingJob, Workbench

PROMPT, TRACE, ANSWER = "What is 2 + 2?", "First we add 2 to 2.\n\nSo it is 4.", r"The answer is \boxed{4}."
COMPLETION = reasoned(TRACE, ANSWER)
CHATS = [
    [{"role": "user", "content": PROMPT}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
    [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": ANSWER}],
    [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": f"<think>\n{TRACE}\n</think>\n\n{ANSWER}"}],
]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"enable_thinking": True}, {"enable_thinking": False}])
def test_a_template_renders_as_that_of_its_family(name: str, options: dict[str, bool]):
    theirs = (resources.files("trl") / "chat_templates" / f"{FAMILIES[name].trl}.jinja").read_text(encoding="utf-8")
    own = tokenizer(name)
    for chat in CHATS:
        for begin in (True, False):
            rendered = [
                own.apply_chat_template(chat, chat_template=one, tokenize=False, add_generation_prompt=begin, **options)
                for one in (FAMILIES[name].source, theirs)
            ]
            assert rendered[0] == rendered[1]


@pytest.mark.parametrize(
    ("name", "thinking", "state", "switch", "keeps"),
    [
        ("qwen2.5", None, "none", False, True),
        ("qwen3", None, "none", True, True),
        ("qwen3", True, "none", True, True),
        ("qwen3", False, "closed", True, True),
        ("r1-distill", None, "open", False, False),
        ("llama3.1", None, "none", False, True),
    ],
)
def test_what_a_template_does_to_think_blocks_is_known(
    name: str, thinking: bool | None, state: str, switch: bool, keeps: bool
):
    own = tokenizer(name)
    assert think_state(opening(own, PROMPT, thinking)) == state
    assert has_switch(own) == switch
    assert keeps_traces(own) == keeps


def test_a_prompt_that_speaks_of_think_tags_opens_no_block():
    assert think_state(opening(tokenizer("qwen2.5"), "Why does it write <think>?")) == "none"


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("completion", "trace"), [(COMPLETION, TRACE), (ANSWER, None), (TRACE, TRACE)], ids=["reasoned", "answer", "trace"]
)
def test_a_row_of_every_family_is_served_as_it_was_trained(name: str, completion: str, trace: str | None):
    own = tokenizer(name)
    thinking = True if name == "qwen3" else None
    row = render(own, PROMPT, completion, thinking)
    assert list(faults(own, row, PROMPT, completion, trace, 512, thinking)) == []
    served = prompt_tokens(own, PROMPT, thinking)
    assert row.input_ids[: len(served)] == served
    assert row.labels == [IGNORED] * len(served) + row.input_ids[len(served) :]
    # A model that has learnt its row writes what the pipeline takes apart into the same parts.
    learnt = row.input_ids[len(served) : -1]
    written = generated(own, call_of(own, "r_1", PROMPT, thinking), learnt, "stop", len(learnt)).text
    if completion is COMPLETION:
        assert (take_apart(written).trace, take_apart(written).answer) == (TRACE, ANSWER)
    else:
        assert trace_of(written) == completion


def test_a_trace_cut_off_inside_the_templates_own_block_is_no_answer():
    own = tokenizer("r1-distill")
    cut = own("First we add", add_special_tokens=False)["input_ids"]
    text = generated(own, call_of(own, "r_1", PROMPT), cut, "length", len(cut)).text
    assert take_apart(text) == take_apart("<think> First we add")
    assert take_apart(text).answer == ""


def through_template(own: Any, completion: str) -> Rendered:
    """What a library trains on that lets completions pass through the template."""
    user = {"role": "user", "content": PROMPT}
    whole = own.apply_chat_template([user, {"role": "assistant", "content": completion}], return_dict=False)
    start = len(own.apply_chat_template([user], add_generation_prompt=False, return_dict=False))
    return Rendered(whole, [IGNORED] * start + whole[start:])


def naive(own: Any, completion: str, thinking: bool | None = None) -> Rendered:
    """What comes of putting a completion behind the template's opening without looking at it."""
    start = prompt_tokens(own, PROMPT, thinking)
    learnt = own(completion + own.eos_token, add_special_tokens=False)["input_ids"]
    return Rendered(start + learnt, [IGNORED] * len(start) + learnt)


def planted() -> list[tuple[str, str, Rendered, bool | None, int, str]]:
    qwen, qwen3, r1 = tokenizer("qwen2.5"), tokenizer("qwen3"), tokenizer("r1-distill")
    whole = render(qwen, PROMPT, COMPLETION)
    return [
        ("closed think", "qwen3", render(qwen3, PROMPT, COMPLETION, False), False, 512, "think_block_open"),
        ("doubled think", "r1-distill", naive(r1, COMPLETION), None, 512, "think_block_single"),
        ("dropped trace", "r1-distill", through_template(r1, COMPLETION), None, 512, "trace_kept"),
        ("truncated row", "qwen2.5", Rendered(whole.input_ids[:-9], whole.labels[:-9]), None, 512, "trace_kept"),
        ("over-long row", "qwen2.5", whole, None, 20, "fits_max_length"),
        ("missing EOS", "llama3.1", naive_without_end(), None, 512, "ends_in_eos"),
        ("other prompt", "qwen3", render(qwen3, PROMPT, COMPLETION, True), False, 512, "prompt_as_served"),
    ]


def naive_without_end() -> Rendered:
    row = render(tokenizer("llama3.1"), PROMPT, COMPLETION)
    return Rendered(row.input_ids[:-1], row.labels[:-1])


@pytest.mark.parametrize(
    ("name", "row", "thinking", "room", "gate"), [case[1:] for case in planted()], ids=[case[0] for case in planted()]
)
def test_each_planted_fault_is_caught_by_name(name: str, row: Rendered, thinking: bool | None, room: int, gate: str):
    assert gate in RENDER_GATES
    assert gate in set(faults(tokenizer(name), row, PROMPT, COMPLETION, TRACE, room, thinking))


def test_a_template_that_opens_a_block_and_begins_to_speak_doubles_it():
    own = tokenizer("qwen2.5")
    own.chat_template = own.chat_template.replace("assistant\\n'", "assistant\\n<think>\\nWell, '")
    try:
        row = render(own, PROMPT, COMPLETION)
        assert set(faults(own, row, PROMPT, COMPLETION, TRACE, 512)) == {"think_block_single"}
    finally:
        own.chat_template = FAMILIES["qwen2.5"].source


def test_a_tokenizer_that_ends_otherwise_than_its_template_is_noticed():
    own = tokenizer("llama3.1")
    assert describe(own, "student", None, 512, PROMPT)["ends_as_template"]
    own.eos_token = "<|finetune_right_pad_id|>"
    try:
        assert not describe(own, "student", None, 512, PROMPT)["ends_as_template"]
    finally:
        own.eos_token = "<|eot_id|>"


def test_a_study_with_a_fault_in_a_template_stops_before_any_model_is_run(
    home: Home, tmp_path: Path, study_content: dict
):
    for role in ("surrogate", "student"):
        study_content[role]["model"] = str(checkpoint("qwen3", tmp_path / role))
    study_content["student"]["thinking"] = False
    study_content["conditions"] = ["base", "base_thinking_on", "answer_only", "inverted_answer", "inverted_summary"]
    outcome = run_study(
        load_study(write_study(tmp_path, study_content)), home, TARGETS, "miniature", "+key:surrogate_traces"
    )
    (failure,) = outcome.failures
    assert (failure.asset, failure.kind) == ("chat_templates", "gate")
    assert "probe_think_block_open: 1 trained roles" in failure.message
    assert "thinking_declared: 1 roles" in failure.message
    assert "surrogate_traces" not in outcome.made
    rows = home.store("tiny").read("chat_templates", "all")
    assert dict(rows.select("role", "opening").iter_rows())["student"] == "closed"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_checkpoint_of_every_family_is_gated_trained_saved_loaded_and_asked(name: str, tmp_path: Path):
    base = checkpoint(name, tmp_path / "base")
    bench = Workbench(InProcessCompute(threads=1), tmp_path / "work", Checkpoints(tmp_path / "checkpoints"))
    thinking = True if name == "qwen3" else None
    examples = from_rows(
        [
            {
                "example_id": f"e_{number}",
                "condition": "oracle",
                "prompt_id": f"p_{number}",
                "request_key": f"r_{number}",
                "prompt": f"What is 2 + {number}?",
                "trace": f"First we add {number}.",
                "completion": reasoned(f"First we add {number}.", str(2 + number)),
                "phase": 0,
            }
            for number in range(6)
        ],
        EXAMPLES,
    )
    assert all(gate.passed for gate in bench.render_gates(str(base), examples, 128, thinking))
    recipe = Recipe(max_steps=8, batch_size=3, learning_rate=0.01, max_length=128, bf16=False, packing=True)
    (manifest,) = bench.train([TrainingJob("train", "student/oracle", str(base), examples, recipe, 0, thinking)])
    assert [gate.name for gate in training_gates([manifest]) if not gate.passed] == []
    assert manifest.changed == 1.0
    asking = Asking(TransformersEngine(), Sampling(max_new_tokens=8), thinking)
    requests = pl.DataFrame({"id": ["a", "b"], "prompt": ["What is 2 + 3?", "What is 2 + 5? Answer."]})
    folder = str(bench.checkpoints.folder(manifest.checkpoint_id))
    (answers,) = bench.generate([GenerationJob("ask", folder, requests, asking, 0)])
    assert answers["id"].to_list() == ["a", "b"]
    assert (answers["output_tokens"] > 0).all()


def test_a_trained_row_comes_out_again(tmp_path: Path):
    """The whole way of one row: what a model is trained to write inside an open block is what it then writes."""
    base = checkpoint("r1-distill", tmp_path / "base", hidden=64)
    bench = Workbench(InProcessCompute(threads=2), tmp_path / "work", Checkpoints(tmp_path / "checkpoints"))
    row = {"example_id": "e", "condition": "oracle", "prompt_id": "p", "request_key": "r", "prompt": PROMPT}
    examples = from_rows([row | {"trace": TRACE, "completion": COMPLETION, "phase": 0}], EXAMPLES)
    recipe = Recipe(max_steps=60, batch_size=1, learning_rate=0.01, bf16=False, gradient_checkpointing=False)
    (manifest,) = bench.train([TrainingJob("train", "student/oracle", str(base), examples, recipe, 0)])
    engine = Transformers(str(bench.checkpoints.folder(manifest.checkpoint_id)), TransformersEngine())
    (written,) = ask(engine, [PROMPT], Sampling(temperature=0, repetition_penalty=1, max_new_tokens=80))
    assert (take_apart(written.text).trace, take_apart(written.text).answer) == (TRACE, ANSWER)
    assert written.finish_reason == "stop"
