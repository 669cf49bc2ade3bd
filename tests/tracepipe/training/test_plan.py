"""Plans: every step learns from a whole batch, on however many devices, packed or padded."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.training.plan import Plan, plan
from tracepipe.training.recipe import Recipe

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=60)


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"batch_size": 24, "max_length": 100, **changes})


def steps_of(made: Plan) -> list[list[int]]:
    """The examples of every step, whatever their forward passes."""
    per_step = made.forwards_per_step
    return [
        sorted(index for forward in made.forwards[start : start + per_step] for index in forward)
        for start in range(0, len(made.forwards), per_step)
    ]


@given(LENGTHS, st.sampled_from([24, 96]), st.integers(1, 8), st.booleans(), st.integers(0, 9))
def test_every_step_has_the_papers_batch_on_any_number_of_devices(
    lengths: list[int], batch: int, devices: int, packing: bool, seed: int
):
    made = plan(lengths, recipe(batch_size=batch, packing=packing), seed, devices)
    assert {len(step) for step in steps_of(made)} == {batch}
    assert made.forwards_per_step == made.accumulation * devices
    assert sum(not forward for forward in made.forwards) < devices * made.steps
    assert made.steps == -(-3 * len(lengths) // batch)


@given(LENGTHS, st.integers(1, 4), st.booleans())
def test_epochs_show_every_example_as_often(lengths: list[int], devices: int, packing: bool):
    made = plan(lengths, recipe(packing=packing), 0, devices)
    seen = Counter(index for forward in made.forwards for index in forward)
    assert set(seen) == set(range(len(lengths)))
    assert max(seen.values()) - min(seen.values()) <= 1
    assert min(seen.values()) >= 3


@given(LENGTHS, st.integers(1, 4))
def test_a_packed_forward_pass_is_never_over_the_length(lengths: list[int], devices: int):
    made = plan(lengths, recipe(packing=True, max_length=110), 0, devices)
    assert max(sum(lengths[index] for index in forward) for forward in made.forwards) <= 110


def test_the_number_of_devices_changes_no_step():
    lengths = [10 + 7 * number % 90 for number in range(50)]
    for packing in (True, False):
        plans = [plan(lengths, recipe(packing=packing), 3, devices) for devices in (1, 2, 8)]
        assert len({str(steps_of(made)) for made in plans}) == 1


def test_packing_takes_as_few_forward_passes_as_a_step_needs():
    lengths = [50] * 40
    packed, padded = (plan(lengths, recipe(packing=packing), 3, 1) for packing in (True, False))
    assert (packed.forwards_per_step, padded.forwards_per_step) == (12, 24)
    assert packed.steps == padded.steps


def test_padded_examples_of_a_forward_pass_have_similar_lengths():
    lengths = [number % 97 + 1 for number in range(480)]
    made = plan(lengths, recipe(micro_batch_size=8), 0, 1)
    spread = [max(lengths[i] for i in one) - min(lengths[i] for i in one) for one in made.forwards]
    assert sum(spread) / len(spread) < 10


@pytest.mark.parametrize(
    ("lengths", "changes", "devices", "words"),
    [
        ([], {}, 1, "nothing to train on"),
        ([5], {}, 25, "25 devices cannot share steps of 24 examples"),
        ([101], {"packing": True}, 1, "101 tokens does not fit into max_length 100"),
    ],
)
def test_what_cannot_be_planned_is_said(lengths: list[int], changes: dict, devices: int, words: str):
    with pytest.raises(ValueError, match=words):
        plan(lengths, recipe(**changes), 0, devices)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 4), st.booleans(), st.integers(0, 9))
def test_a_curriculum_learns_one_phase_after_the_other(phases: list[int], devices: int, packing: bool, seed: int):
    lengths = [10 + index % 7 for index in range(len(phases))]
    made = plan(lengths, recipe(packing=packing), seed, devices, phases)
    steps = steps_of(made)
    assert len(steps) == -(-3 * len(phases) // 24)
    order = [phases[index] for step in steps for index in step]
    assert order == sorted(order)
    single = plan(lengths, recipe(packing=packing), seed, devices, [5] * len(phases))
    assert single == plan(lengths, recipe(packing=packing), seed, devices)
