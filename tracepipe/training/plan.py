"""Which examples share a forward pass and which an optimiser step, decided before training starts.

Every step learns from exactly `batch_size` examples, on however many devices, packed or padded: packing fills forward
passes within a step and never changes what the step is made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tracepipe.identity import digest
from tracepipe.training.recipe import Recipe

_NEIGHBOURHOOD = 50  # steps whose examples are sorted by length together where they are padded

Forward = list[int]
"""The examples of one forward pass, by index; it may be empty where devices do not divide a step."""


@dataclass(frozen=True)
class Plan:
    """The forward passes of a whole training.

    Attributes:
        forwards: In order; step s takes `forwards_per_step` of them, device d every `devices`-th.
    """

    forwards: list[Forward]
    forwards_per_step: int
    devices: int

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return len(self.forwards) // self.forwards_per_step

    @property
    def accumulation(self) -> int:
        """Forward passes of one device in one step."""
        return self.forwards_per_step // self.devices

    def identity(self) -> str:
        """Return a hash: a training that was killed goes on only by the plan it began with."""
        return digest([self.forwards, self.devices])


def plan(lengths: Sequence[int], recipe: Recipe, seed: int, devices: int, phases: Sequence[int] = ()) -> Plan:
    """Deal out all examples of a training.

    Examples come in a new random order every epoch. The last step is filled up from the next epoch, so that no step is
    smaller than the others. Where there are phases, each takes a share of the steps as large as its share of the
    examples, one phase after the other.

    Args:
        lengths: Tokens of each example.
        recipe: Batch size, epochs or steps, packing and its length.
        seed: Decides the order.
        devices: Processes that share a step.
        phases: Of each example; none stand for a single phase.

    Raises:
        ValueError: If there are no examples, more devices than a step has examples, or an example longer than
            `max_length` is to be packed.
    """
    if not lengths:
        raise ValueError("there is nothing to train on")
    if devices > recipe.batch_size:
        raise ValueError(f"{devices} devices cannot share steps of {recipe.batch_size} examples")
    steps = recipe.max_steps or -(-round(recipe.epochs * len(lengths)) // recipe.batch_size)
    random = Random(seed)
    dealt: list[list[int]] = []
    for members, share in _in_phases(phases or [0] * len(lengths), steps):
        of_phase = _deal(members, share, recipe.batch_size, random)
        dealt += of_phase if recipe.packing else _by_length(of_phase, lengths, random)
    if recipe.packing:
        per_step, forwards = _packed(dealt, lengths, recipe.max_length, devices)
    else:
        per_step, forwards = _padded(dealt, lengths, recipe.micro_batch_size, devices)
    return Plan(forwards, per_step, devices)


def validation_forwards(lengths: Sequence[int], recipe: Recipe) -> list[Forward]:
    """Return forward passes that hold every example once, for measuring a loss."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    size = recipe.micro_batch_size
    return [order[start : start + size] for start in range(0, len(order), size)]


def _in_phases(phases: Sequence[int], steps: int) -> list[tuple[Sequence[int], int]]:
    """Return each phase's examples, and its share of the steps; the shares add up to all of them."""
    members = {phase: [index for index, of in enumerate(phases) if of == phase] for phase in sorted(set(phases))}
    found, seen, spent = list[tuple[Sequence[int], int]](), 0, 0
    for indices in members.values():
        seen += len(indices)
        until = round(steps * seen / len(phases))
        found.append((indices, until - spent))
        spent = until
    return found


def _deal(members: Sequence[int], steps: int, size: int, random: Random) -> list[list[int]]:
    stream: list[int] = []
    while len(stream) < steps * size:
        stream += random.sample(members, len(members))
    return [stream[step * size : (step + 1) * size] for step in range(steps)]


def _by_length(dealt: list[list[int]], lengths: Sequence[int], random: Random) -> list[list[int]]:
    """Give steps examples of similar length, within neighbourhoods of steps, and shuffle these steps."""
    grouped: list[list[int]] = []
    size = len(dealt[0]) if dealt else 0
    for start in range(0, len(dealt), _NEIGHBOURHOOD):
        near = sorted((one for step in dealt[start : start + _NEIGHBOURHOOD] for one in step), key=lengths.__getitem__)
        steps = [near[begin : begin + size] for begin in range(0, len(near), size)]
        grouped += random.sample(steps, len(steps))
    return grouped


def _padded(dealt: list[list[int]], lengths: Sequence[int], size: int, devices: int) -> tuple[int, list[Forward]]:
    batch = len(dealt[0])
    per_step = -(-batch // size)
    per_step += -per_step % devices
    forwards: list[Forward] = []
    for step in dealt:
        ordered = sorted(step, key=lengths.__getitem__)
        forwards += [ordered[batch * part // per_step : batch * (part + 1) // per_step] for part in range(per_step)]
    return per_step, forwards


def _packed(dealt: list[list[int]], lengths: Sequence[int], room: int, devices: int) -> tuple[int, list[Forward]]:
    longest = max(lengths)
    if longest > room:
        raise ValueError(f"an example of {longest} tokens does not fit into max_length {room}")
    per_step = devices
    forwards: list[Forward] = []
    while len(forwards) < per_step * len(dealt):
        forwards = []
        for step in dealt:
            filled = _fill(step, lengths, room, per_step)
            if filled is None:
                per_step += devices
                break
            forwards += filled
    return per_step, forwards


def _fill(step: list[int], lengths: Sequence[int], room: int, bins: int) -> list[Forward] | None:
    """Share a step's examples out over so many bins, evenly; None where they do not fit."""
    contents: list[Forward] = [[] for _ in range(bins)]
    totals = [0] * bins
    for index in sorted(step, key=lambda one: -lengths[one]):
        emptiest = min(range(bins), key=totals.__getitem__)
        if totals[emptiest] + lengths[index] > room:
            return None
        contents[emptiest].append(index)
        totals[emptiest] += lengths[index]
    return contents
