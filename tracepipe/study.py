"""What a user writes: a study (one experiment) and the specifications it is made of."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tracepipe.engines.settings import Engine, Fraction, TransformersEngine
from tracepipe.identity import data_stamps, digest
from tracepipe.placement import Compute, Hardware, Local
from tracepipe.roles import Exposure, FunctionCompressor, Inverter, ModelCompressor, Student, Surrogate
from tracepipe.spec import Slug, Spec, load_spec, resolve_data
from tracepipe.words import Words

Condition = Literal[
    "base",
    "base_thinking_on",
    "base_thinking_off",
    "answer_only",
    "summary_answer",
    "surrogate_trace",
    "inverted_summary",
    "inverted_answer",
    "oracle",
]
Rule = Literal["exact", "ngram", "cover", "fuzzy"]

UNTRAINED_RENDERS: dict[str, bool] = {"base_thinking_on": True, "base_thinking_off": False}
"""The untrained student asked with its template's thinking switched otherwise than the students are."""

UNTRAINED: frozenset[str] = frozenset({"base", *UNTRAINED_RENDERS})
"""The conditions that fine-tune nothing."""

INVERTED: dict[str, Exposure] = {"inverted_summary": "summary", "inverted_answer": "answer"}
"""The conditions that train on inverted traces, with the exposure they need."""


class Columns(Spec):
    """Which fields of a file hold what."""

    prompt: str = "prompt"
    source: str | None = None
    domain: str | None = None


class MiniaturePrompts(Spec):
    """Problems of the miniature world, drawn with the study's seed."""

    kind: Literal["miniature"]

    def identity(self) -> dict[str, Any]:
        """Return all that decides the rows, apart from the study's seed."""
        return self.model_dump(mode="json")


class _Data(Spec):
    path: str

    @field_validator("path")
    @classmethod
    def _resolved(cls, value: str, info: ValidationInfo) -> str:
        return resolve_data(value, info)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the rows; a file that was edited is another one."""
        return self.model_dump(mode="json") | {"path": data_stamps(self.path)}


class FilePrompts(_Data):
    """Prompts by a column mapping: a JSONL or Parquet file, a folder of such files, or a hub id."""

    kind: Literal["file"]
    columns: Columns = Columns()


class OpenThoughtsPrompts(_Data):
    """OpenThoughts-114k in either published schema: a JSONL or Parquet file, a folder of such, or a hub id."""

    kind: Literal["openthoughts"]


class Splits(Spec):
    """How many prompts the surrogate and the target answer; the two sets share none."""

    surrogate: int = Field(gt=0)
    target: int = Field(gt=0)


class Prompts(Spec):
    """Where prompts come from. Without `splits` they are dealt out half and half."""

    source: Annotated[MiniaturePrompts | FilePrompts | OpenThoughtsPrompts, Field(discriminator="kind")]
    splits: Splits | None = None

    @model_validator(mode="after")
    def _drawn_world_needs_sizes(self) -> Self:
        if self.splits is None and isinstance(self.source, MiniaturePrompts):
            raise ValueError("splits: the miniature source has no size of its own; say how many prompts to draw")
        return self


class _Benchmark(Spec):
    samples: int = Field(1, gt=0, description="answers per item and student; paper: JEEBench 3, AIME 10, LCB 6")


class MiniatureBenchmark(_Benchmark):
    """Held-out problems of the miniature world: like the prompts, or with four hard operations."""

    kind: Literal["miniature"]
    name: Slug
    difficulty: Literal["in_distribution", "harder"]
    items: int = Field(gt=0)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the items, apart from the study's seed."""
        return self.model_dump(mode="json")


class FileBenchmark(_Data, _Benchmark):
    r"""Problems with a gold answer from a JSONL file; graded by exact match of the last `\boxed{}`."""

    kind: Literal["file"]
    name: Slug
    prompt: str = "problem"
    gold: str = "answer"


class KnownBenchmark(_Benchmark):
    """A benchmark with a protocol of its own (`tracepipe.benchmarks`); without a path its items come from the hub."""

    kind: Literal["math500", "jeebench", "aime", "livecodebench", "humaneval_plus"]
    name: Slug
    path: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_for_its_kind(cls, content: Any) -> Any:
        return {"name": content.get("kind"), **content} if isinstance(content, dict) else content

    @field_validator("path")
    @classmethod
    def _resolved(cls, value: str | None, info: ValidationInfo) -> str | None:
        return None if value is None else resolve_data(value, info)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the items; a file that was edited is another one."""
        return self.model_dump(mode="json") | {"path": None if self.path is None else data_stamps(self.path)}


Benchmark = Annotated[MiniatureBenchmark | FileBenchmark | KnownBenchmark, Field(discriminator="kind")]


class SummaryStyle(Spec):
    """How far the compressor's summaries may be from the target's before nothing is inverted from them."""

    factor: float = Field(2.5, gt=1, description="median length and compression, either way")
    points: float = Field(
        25, gt=0, le=100, description="shares of bold headers, first person, LaTeX; percentage points"
    )


class Decontamination(Spec):
    """Which prompts are left out because a benchmark asks much the same; see `tracepipe.prompts.decontamination`."""

    rules: tuple[Rule, ...] = ("exact", "ngram", "cover", "fuzzy")
    ngram: int = Field(13, gt=1, description="rule ngram: words in a row that prompt and item share")
    cover_ngram: int = Field(8, gt=1, description="rule cover: words in a row ...")
    cover_share: Fraction = Field(0.5, description="... that together make up so much of the item")
    fuzzy_ratio: float = Field(95, gt=50, le=100, description="rule fuzzy: similarity of prompt and short item, %")


class Study(Spec):
    """One experiment: roles, prompts, exposures, conditions, recipes and benchmarks."""

    name: Slug
    description: str = ""
    seed: int = Field(0, ge=0, description="varies prompts, splits, sampling, inverters and students")
    prompts: Prompts
    surrogate: Surrogate
    compressor: Annotated[FunctionCompressor | ModelCompressor, Field(discriminator="kind")]
    inverter: Inverter
    exposures: tuple[Exposure, ...] = Field(("summary", "answer"), min_length=1)
    student: Student
    conditions: tuple[Condition, ...] = Field(min_length=1)
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
        if isinstance(filled.get("compute"), dict):
            filled["compute"] = {"kind": "local", **filled["compute"]}
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("exposures", "conditions"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: each may stand once, got {list(values)}")
        for condition in self.conditions:
            exposure = INVERTED.get(condition)
            if exposure and exposure not in self.exposures:
                raise ValueError(f"conditions: {condition} needs the exposure '{exposure}' in exposures")
        if "oracle" in self.conditions and not {"answer_only", "inverted_answer"} & set(self.conditions):
            raise ValueError("conditions: oracle shares its rows with answer_only or inverted_answer; add one of them")
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


def load_study(path: Path, *, seed: int | None = None) -> Study:
    """Read a study file; `seed` replaces the study's own.

    Raises:
        SpecError: See `load_spec`.
    """
    return load_spec(Study, path, **({} if seed is None else {"seed": seed}))
