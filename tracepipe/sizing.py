"""What a study takes, stage by stage, before anything is bought: USD, GPU-hours, disk. Nothing is asked or loaded.

Everything rests on stated assumptions: lengths from the paper (tables 1 and 2, section on cost), operations from the
number of parameters (6 per parameter and token for training, 2 for writing), and figures of the GPU.
"""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tracepipe.conditions import UNTRAINED, Condition
from tracepipe.estimate import Range
from tracepipe.exposures import not_exposed
from tracepipe.placement import GPUS, Hardware
from tracepipe.policies import EndpointPolicy, ModelPolicy, Shorten
from tracepipe.problems import KnownBenchmark
from tracepipe.registry import load_target
from tracepipe.roles import Exposure, ModelCompressor
from tracepipe.row_set import conditions_for
from tracepipe.spec import SpecError
from tracepipe.study import Study
from tracepipe.target import Target
from tracepipe.training.recipe import Recipe

_ITEMS = {"math500": 500, "jeebench": 515, "aime": 30, "livecodebench": 511, "humaneval_plus": 164}


@dataclass(frozen=True)
class Assumptions:
    """What the figures rest on; each can be replaced on the command line.

    Attributes:
        prompt: Tokens of a prompt.
        trace: Tokens of a reasoning trace (paper, table 2: 6,130.6).
        summary: Tokens of a summary (paper, table 1: 592).
        answer: Tokens of a visible answer.
        billed: Output tokens that a closed target bills per query (paper: 10,000 queries for 173.28 USD).
        student: Tokens that a student writes per benchmark item.
        mfu: Share of the GPU's peak that training reaches.
        bandwidth: Share of the GPU's memory bandwidth that writing reaches.
        bytes_per_token: Text of a token in a table, before compression to a third.
    """

    prompt: float = 250
    trace: float = 6130
    summary: float = 592
    answer: float = 400
    billed: float = 3800
    student: float = 6000
    mfu: float = 0.4
    bandwidth: float = 0.5
    bytes_per_token: float = 4.3

    def in_words(self) -> list[str]:
        """Return one line per assumption."""
        return [f"{name} {value:g}" for name, value in asdict(self).items()]


@dataclass(frozen=True)
class Stage:
    """One line of an estimate; `what` says what it counts."""

    stage: str
    what: str
    usd: float = 0.0
    gpu_hours: float = 0.0
    disk_gib: float = 0.0


@dataclass(frozen=True)
class _Writing:
    """Texts that one model writes."""

    rows: float
    read: float
    written: float


class Sizing:
    """The stages of one study, for one target or for a target that is not named."""

    def __init__(self, study: Study, target: Target | None, assumed: Assumptions, hardware: Hardware) -> None:
        if study.prompts.splits is None:
            raise SpecError("prompts.splits: say how many prompts there are to size a study without reading them")
        self._study = study
        self._target = target
        self._assumed = assumed
        self._hardware = hardware
        self._gpu = GPUS[hardware.gpu]
        self._splits = study.prompts.splits

    def stages(self) -> list[Stage]:
        """Return the stages in the order of the pipeline."""
        found = [
            *self._surrogate(),
            self._collection(),
            *self._policies(),
            *self._inverters(),
            *self._students(),
            self._benchmarks(),
        ]
        priced = [replace(one, usd=one.usd + one.gpu_hours * self._hardware.usd_per_hour) for one in found]
        kept = sum(one.disk_gib for one in priced)
        total = Stage("total", "", sum(one.usd for one in priced), sum(one.gpu_hours for one in priced), kept)
        return [*priced, total]

    def _surrogate(self) -> list[Stage]:
        study, assumed, rows = self._study, self._assumed, self._splits.surrogate
        traces = _Writing(rows, assumed.prompt, assumed.trace + assumed.answer)
        stages = [self._written("surrogate traces", study.surrogate.model, traces)]
        if isinstance(study.compressor, ModelCompressor):
            summaries = _Writing(rows, assumed.prompt + assumed.trace, assumed.summary)
            stages.append(self._written("surrogate summaries", study.compressor.model, summaries))
        return stages

    def _collection(self) -> Stage:
        rows, target = self._splits.target, self._target
        if target is None:
            return Stage("target outputs", f"{rows:,} queries; name a target for their price")
        written = self._assumed.trace + self._assumed.answer if target.open else self._assumed.billed
        return self._asked("target outputs", target, _Writing(rows, self._assumed.prompt, written))

    def _policies(self) -> list[Stage]:
        """What writers of exposures take, on the surrogate's side and on the target's."""
        study, assumed, stages = self._study, self._assumed, list[Stage]()
        for exposure in self._exposures():
            policy = study.policies.get(exposure)
            if isinstance(policy, ModelPolicy | EndpointPolicy):
                given = assumed.prompt + (assumed.trace if policy.origin == "trace" else assumed.summary)
                writing = _Writing(self._splits.surrogate + self._splits.target, given, assumed.summary)
                if isinstance(policy, ModelPolicy):
                    stages.append(self._written(f"exposures/{exposure}", policy.model, writing))
                else:
                    stages.append(self._asked(f"exposures/{exposure}", load_target(Path(policy.file)), writing))
        return stages

    def _inverters(self) -> list[Stage]:
        study, assumed, stages = self._study, self._assumed, list[Stage]()
        for exposure in self._exposures():
            shown = assumed.prompt + assumed.answer + self._shown(exposure)
            tokens = self._splits.surrogate * (shown + assumed.trace)
            stages.append(self._trained(f"inverter/{exposure}", study.inverter.model, study.inverter.recipe, tokens, 1))
            writing = _Writing(self._splits.target, shown, assumed.trace)
            stages.append(self._written(f"inverted traces/{exposure}", study.inverter.model, writing))
            if study.selection is not None and study.selections_at(exposure):
                more = _Writing(self._splits.target * (study.selection.draws - 1), shown, assumed.trace)
                stages.append(self._written(f"trace draws/{exposure}", study.inverter.model, more))
                stages += self._measures(exposure, study.selection.draws, shown)
            if study.uses_zero_shot(exposure) or (self._target is not None and self._target.open):
                stages.append(self._written(f"zero-shot traces/{exposure}", study.inverter.model, writing))
        return stages

    def _measures(self, exposure: Exposure, draws: int, shown: float) -> list[Stage]:
        """A model's pass over every draw, where a selection needs one; the surrogate is not shown the answer."""
        assumed, texts = self._assumed, self._splits.target * draws
        readers = {
            "likelihood": (self._study.inverter.model, shown),
            "plausibility": (self._study.surrogate.model, assumed.prompt),
        }
        needed = frozenset[str]().union(*(one.needs for one in self._study.selections_at(exposure).values()))
        return [
            self._read(f"{name}/{exposure}", model, texts, before + assumed.trace + assumed.answer)
            for name, (model, before) in readers.items()
            if name in needed
        ]

    def _exposures(self) -> list[Exposure]:
        return [
            one
            for one in self._study.exposures
            if self._target is None or not_exposed(self._study, one, self._target) is None
        ]

    def _shown(self, exposure: Exposure) -> float:
        """Tokens that an exposure shows beside prompt and answer; at most, where a policy leaves out what it finds."""
        policy = self._study.policies.get(exposure)
        share = policy.share if isinstance(policy, Shorten) else 1.0
        return 0.0 if exposure == "answer" else share * self._assumed.summary

    def _students(self) -> list[Stage]:
        student, seeds = self._study.student, len(self._study.student.seeds)
        return [
            self._trained(f"student/{one}", student.model, student.recipe, self._example_tokens(one), seeds)
            for one in self._conditions()
            if one not in UNTRAINED
        ]

    def _conditions(self) -> list[Condition]:
        if self._target is None:
            return list(self._study.conditions)
        return conditions_for(self._study, self._target)

    def _example_tokens(self, condition: Condition) -> float:
        assumed, composition = self._assumed, self._study.composition(condition)
        rows = min(self._splits.target, composition.queries or self._splits.target)
        thoughts = {"answer": 0.0, "summary": assumed.summary}
        per_row = [
            part.share * (assumed.prompt + thoughts.get(part.source, assumed.trace) + assumed.answer)
            for part in composition.parts
        ]
        return rows * sum(per_row)

    def _benchmarks(self) -> Stage:
        conditions = self._conditions()
        untrained = sum(one in UNTRAINED for one in conditions)
        students = untrained + (len(conditions) - untrained) * len(self._study.student.seeds)
        answers = students * sum(
            benchmark.samples * (_ITEMS[benchmark.kind] if isinstance(benchmark, KnownBenchmark) else 300)
            for benchmark in self._study.benchmarks
        )
        writing = _Writing(answers, self._assumed.prompt, self._assumed.student)
        return self._written("benchmark answers", self._study.student.model, writing)

    def _written(self, stage: str, model: str, writing: _Writing) -> Stage:
        billions = parameters(model)
        width = self._hardware.writers
        weights = billions * 2e9
        cache = billions * 8192 * (writing.read + writing.written / 2)
        room = max(1.0, (self._gpu.memory_gib * 0.9 * 2**30 - weights) / cache)
        at_once = min(width, room)
        step = (weights + at_once * cache) / (self._gpu.bandwidth * 1e12 * self._assumed.bandwidth)
        seconds = writing.rows * (writing.written * step / at_once + self._reading(billions, writing.read))
        texts = f"{writing.rows:,.0f} texts of {writing.written:,.0f} tokens"
        what = f"{texts}, {_named(model, billions)}, {at_once:.0f} at once"
        return Stage(stage, what, 0.0, seconds / 3600, self._disk(writing.rows * writing.written))

    def _asked(self, stage: str, target: Target, writing: _Writing) -> Stage:
        """Texts that somebody else writes, at their price."""
        share = target.price.batch if target.delivery == "batch" else 1.0
        per_row = writing.read * target.price.input + writing.written * target.price.output
        what = f"{writing.rows:,.0f} queries of {target.name}"
        return Stage(stage, what, writing.rows * share * per_row / 1e6, 0.0, self._disk(writing.rows * writing.written))

    def _read(self, stage: str, model: str, rows: float, tokens: float) -> Stage:
        billions = parameters(model)
        what = f"{rows:,.0f} texts of {tokens:,.0f} tokens read, {_named(model, billions)}"
        return Stage(stage, what, 0.0, rows * self._reading(billions, tokens) / 3600)

    def _reading(self, billions: float, tokens: float) -> float:
        """Seconds in which a model reads so many tokens."""
        return 2 * billions * 1e9 * tokens / (self._gpu.teraflops * 1e12 * self._assumed.mfu)

    def _trained(self, stage: str, model: str, recipe: Recipe, tokens: float, seeds: int) -> Stage:
        billions = parameters(model)
        seen = tokens * recipe.epochs * seeds
        operations = (4 if recipe.lora else 6) + (2 if recipe.gradient_checkpointing else 0)
        seconds = seen * operations * billions * 1e9 / (self._gpu.teraflops * 1e12 * self._assumed.mfu)
        what = f"{seen / 1e6:,.0f} M tokens, {_named(model, billions)}, {seeds} seed{'s' if seeds > 1 else ''}"
        return Stage(stage, what, 0.0, seconds / 3600, seeds * billions * 2e9 / 2**30)

    def _disk(self, tokens: float) -> float:
        return tokens * self._assumed.bytes_per_token / 3 / 2**30


def parameters(model: str) -> float:
    """Return a model's parameters in billions: from a checkpoint's files, else from its name.

    Raises:
        SpecError: If neither tells.
    """
    folder = Path(model)
    if folder.is_dir():
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 2 / 1e9
    found = re.search(r"(\d+(?:\.\d+)?)B(?![a-z])", model)
    if found is None:
        raise SpecError(f"the size of '{model}' does not stand in its name; give a checkpoint folder to size a study")
    return float(found[1])


def _named(model: str, billions: float) -> str:
    return f"{Path(model).name} ({billions:.2g} B)"


def price_tag(stages: list[Stage], hardware: Hardware) -> str:
    """Return a study's price in one line, as its file carries it."""
    total = stages[-1]
    hours = f"{total.gpu_hours:,.0f} GPU-hours on {hardware.gpu}"
    return f"about {total.usd:,.0f} USD, {hours}, {total.disk_gib:,.0f} GiB of disk"


def total_range(stages: list[Stage]) -> Range:
    """Return the total in USD with a factor of two either way: that far throughput and lengths may be off."""
    return Range(stages[-1].usd / 2, stages[-1].usd, stages[-1].usd * 2)
