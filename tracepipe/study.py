"""What a user writes: a study (one experiment) and the specifications it is made of."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tracepipe.conditions import (
    MAIN_SELECTION,
    UNTRAINED,
    UNTRAINED_RENDERS,
    Budgets,
    Composition,
    Condition,
    Name,
    Part,
    at_budget,
    clashes,
    read_name,
)
from tracepipe.engines.settings import Engine, TransformersEngine
from tracepipe.identity import digest
from tracepipe.placement import Compute, Hardware, Local
from tracepipe.policies import Policy
from tracepipe.problems import Benchmark, Decontamination, Prompts, SummaryStyle
from tracepipe.roles import Exposure, FunctionCompressor, Inverter, ModelCompressor, Student, Surrogate
from tracepipe.selection.spec import Choice, Selection
from tracepipe.spec import Slug, Spec, load_spec
from tracepipe.words import Words


class Study(Spec):
    """One experiment: roles, prompts, exposures, conditions, recipes and benchmarks."""

    name: Slug
    description: str = ""
    seed: int = Field(0, ge=0, description="varies prompts, splits, sampling, inverters and students")
    prompts: Prompts
    surrogate: Surrogate
    compressor: Annotated[FunctionCompressor | ModelCompressor, Field(discriminator="kind")]
    inverter: Inverter
    exposures: tuple[Exposure, ...] = Field(
        ("summary", "answer"), min_length=1, description="answer, summary, and names of policies"
    )
    policies: dict[Name, Policy] = Field(
        default_factory=dict, description="what else might be shown: an audit's levels"
    )
    student: Student
    conditions: tuple[Condition, ...] = Field(min_length=1, description="see `tracepipe.conditions`, or a composition")
    compositions: dict[Name, Composition] = Field(default_factory=dict, description="conditions of the study's own")
    selection: Selection | None = Field(None, description="several draws per inverted trace, and a choice among them")
    selections: dict[Name, Choice] = Field(default_factory=dict, description="other choices among the same draws")
    gated_domains: tuple[str, ...] = Field(
        ("code",), description="whose prompts a gated condition answers without trace"
    )
    budgets: Budgets | None = Field(None, description="query budgets; a list alone sweeps every inverted condition")
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)
    engine: Engine = Field(TransformersEngine(), description="of every role that names none of its own")
    compute: Compute = Local()
    hardware: Hardware = Field(Hardware(), description="for `tracepipe estimate`")
    summary_style: SummaryStyle = SummaryStyle()
    decontamination: Decontamination = Decontamination()
    fidelity_words: Words = Field("one_line", description="how fidelity finds words; sentences needs NLTK's punkt_tab")
    fresh_days: int = Field(45, gt=0, description="a target's outputs that are older are shown as stale in the UI")
    recollect: str = Field(
        "0 3 1 * *",
        pattern=r"^\S+( \S+){4}$",
        description="cron, UTC: when known targets are collected anew, once that schedule is switched on",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, content: Any) -> Any:
        """Give every role the study's engine, and `compute` its kind, where they name none."""
        if not isinstance(content, dict):
            return content
        filled = dict(content)
        if "engine" in filled:
            for role in ("surrogate", "compressor", "inverter", "student"):
                if isinstance(filled.get(role), dict) and filled[role].get("kind") != "function":
                    filled[role] = {"engine": filled["engine"], **filled[role]}
            policies = filled.get("policies")
            if isinstance(policies, dict):
                filled["policies"] = {
                    name: {"engine": filled["engine"], **one}
                    if isinstance(one, dict) and one.get("kind") == "model"
                    else one
                    for name, one in policies.items()
                }
        if isinstance(filled.get("compute"), dict):
            filled["compute"] = {"kind": "local", **filled["compute"]}
        _spell_out_budgets(filled)
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("exposures", "conditions"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: each may stand once, got {list(values)}")
        self._expect_known_names()
        self._expect_both_renders()
        if self.compute.training.devices > 1 and isinstance(self.compute, Local):
            raise ValueError(
                "compute: training.devices above 1 starts processes of their own; choose kind: subprocess (or ray, "
                "ecs, kubernetes)"
            )
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError(f"benchmarks: each name may stand once, got {names}")
        return self

    def _expect_known_names(self) -> None:
        """Every name says something, and what it needs is there."""
        for name in [*self.policies, *self.selections, *self.compositions]:
            if clashes(name) or name in ("answer", "summary"):
                raise ValueError(
                    f"'{name}' would be read as another name; give this policy, selection or composition another"
                )
        unknown = [name for name in self.exposures if name not in ("answer", "summary", *self.policies)]
        if unknown:
            raise ValueError(
                f"exposures: {unknown} are neither answer nor summary nor one of policies: {list(self.policies)}"
            )
        if self.selections and self.selection is None:
            raise ValueError("selections: need the block selection, which says how often a trace is drawn")
        for name, policy in self.policies.items():
            strange = [one for one in policy.learn if one == "answer" or one not in self.exposures]
            if strange:
                raise ValueError(f"policies.{name}.learn: {strange} are not exposures of this study that show a text")
        for name, composition in self.compositions.items():
            if any(part.source == "oracle" for part in composition.parts):
                raise ValueError(f"compositions.{name}.parts: hidden traces are for the condition oracle alone")
        for condition in self.trained_conditions:
            self._expect_possible(condition)
        self._expect_budgets()

    def _expect_possible(self, condition: Condition) -> None:
        composition = self.composition(condition)
        for part in composition.parts:
            if part.exposure is not None and part.exposure not in self.exposures:
                raise ValueError(f"conditions: {condition} needs the exposure '{part.exposure}' in exposures")
            if part.selection is not None and part.selection not in self.known_selections:
                raise ValueError(
                    f"conditions: {condition} needs the selection '{part.selection}'; "
                    f"there are: {', '.join(self.known_selections) or 'none, for want of a block selection'}"
                )
        other = composition.length_of
        if other is not None and (
            other not in self.trained_conditions or self.composition(other).length_of != condition
        ):
            raise ValueError(
                f"compositions.{condition}.length_of: '{other}' must be a condition of the study whose length_of is "
                f"'{condition}': the two keep rows of the same lengths"
            )

    def _expect_budgets(self) -> None:
        """A query budget is one that this study's prompts can fill."""
        splits = self.prompts.splits
        most = max(self.budgets.queries) if self.budgets else 0
        if splits is not None and most > splits.target:
            raise ValueError(f"budgets: {most} queries are more than prompts.splits.target, {splits.target}")

    def _parts(self) -> list[Part]:
        return [part for name in self.trained_conditions for part in self.composition(name).parts]

    def composition(self, condition: Condition) -> Composition:
        """Return what a condition that trains is made of.

        Raises:
            ValueError: If its name says nothing; says what names there are.
        """
        found = self.compositions.get(condition) or read_name(
            condition, {"answer", "summary", *self.policies}, self.known_selections, self.gated_domains
        )
        if found is None:
            raise ValueError(
                f"conditions: '{condition}' is none of base, answer_only, summary_answer, surrogate_trace, oracle, "
                f"inverted_<exposure>[_<selection>], zero_shot_<exposure>, with [_augmented|_curriculum][_gated]"
                f"[_at_<queries>] behind, and no composition; exposures: {', '.join(self.exposures)}; selections: "
                f"{', '.join(self.known_selections) or 'none'}; compositions: {', '.join(self.compositions) or 'none'}"
            )
        return found

    @property
    def known_selections(self) -> dict[str, Choice]:
        """The selections by name; the study's block is `selected`."""
        return {MAIN_SELECTION: self.selection, **self.selections} if self.selection else {}

    def selections_at(self, exposure: Exposure) -> dict[str, Choice]:
        """Return the selections that conditions use on an exposure's draws."""
        used = {part.selection for part in self._parts() if part.exposure == exposure}
        return {name: choice for name, choice in self.known_selections.items() if name in used}

    def uses_zero_shot(self, exposure: Exposure) -> bool:
        """Whether a condition trains on what the inverter's untrained base writes at an exposure."""
        return any(part.source == "zero_shot" and part.exposure == exposure for part in self._parts())

    @property
    def of_summaries(self) -> list[Exposure]:
        """The exposures that show the target's summary, or something made from it."""
        return [
            name
            for name in self.exposures
            if name == "summary" or (name in self.policies and self.policies[name].origin == "summary")
        ]

    @property
    def has_levels(self) -> bool:
        """Whether it studies more exposures than a target's own two, as an audit does."""
        return any(name in self.policies for name in self.exposures)

    def learnt_from(self, exposure: Exposure) -> tuple[Exposure, ...]:
        """Return the exposures whose texts of the surrogate an inverter learns from."""
        policy = self.policies.get(exposure)
        return (policy.learn if policy else ()) or (exposure,)

    def _expect_both_renders(self) -> None:
        """A base that can think is measured both ways: without thinking it may beat all that was trained."""
        thinking = self.student.thinking
        asked = {name for name in self.conditions if name in UNTRAINED_RENDERS}
        wanted = {name for name, state in UNTRAINED_RENDERS.items() if thinking is not None and state != thinking}
        if "base" in self.conditions and asked != wanted:
            shown = "on" if thinking else "off" if thinking is not None else "not set"
            raise ValueError(
                f"conditions: with student.thinking {shown}, base stands beside "
                f"{', '.join(wanted) or 'no other render'}, got {', '.join(sorted(asked)) or 'none'}"
            )

    def derived_seed(self, *purpose: str | int) -> int:
        """Return a seed of 31 bits for one purpose, different for every study seed."""
        return int(digest([self.seed, *purpose]), 16) % 2**31

    @property
    def trained_conditions(self) -> tuple[Condition, ...]:
        """The conditions that fine-tune a student."""
        return tuple(condition for condition in self.conditions if condition not in UNTRAINED)


def _spell_out_budgets(content: dict[str, Any]) -> None:
    """Write out the conditions that a sweep over budgets stands for, once."""
    budgets, conditions = content.get("budgets"), content.get("conditions")
    if not isinstance(conditions, (list, tuple)):
        return
    if isinstance(budgets, list):
        swept = [name for name in conditions if isinstance(name, str) and name.startswith("inverted_")]
        budgets = content["budgets"] = {"queries": budgets, "conditions": swept}
    if isinstance(budgets, dict) and isinstance(budgets.get("queries"), (list, tuple)):
        points = [at_budget(name, count) for name in budgets.get("conditions", ()) for count in budgets["queries"]]
        content["conditions"] = [*conditions, *(name for name in points if name not in conditions)]


def load_study(path: Path, *, seed: int | None = None) -> Study:
    """Read a study file; `seed` replaces the study's own.

    Raises:
        SpecError: See `load_spec`.
    """
    return load_spec(Study, path, **({} if seed is None else {"seed": seed}))
