"""What a user writes: a study (one experiment) and the specifications it is made of."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tracepipe.identity import data_stamps, digest, weights_id
from tracepipe.spec import Slug, Spec, load_spec, resolve_data, resolve_path
from tracepipe.words import Words

Exposure = Literal["summary", "answer"]
Condition = Literal[
    "base",
    "answer_only",
    "summary_answer",
    "surrogate_trace",
    "inverted_summary",
    "inverted_answer",
    "oracle",
]
Rule = Literal["exact", "ngram", "cover", "fuzzy"]
Fraction = Annotated[float, Field(gt=0, le=1)]

INVERTED: dict[str, Exposure] = {"inverted_summary": "summary", "inverted_answer": "answer"}
"""The conditions that train on inverted traces, with the exposure they need."""


class Sampling(Spec):
    """How text is drawn from a model. Defaults are the paper's (released code)."""

    temperature: float = Field(0.7, ge=0)
    top_p: Fraction = 0.9
    top_k: int = Field(0, ge=0, description="0 switches the limit off")
    repetition_penalty: float = Field(1.05, gt=0)
    max_new_tokens: int = Field(8192, gt=0)
    batch_size: int = Field(64, gt=0, description="sequences generated together; part of what a seed reproduces")


class Model(Spec):
    """A local checkpoint folder (`./`, `../` or `/` path) or a hub id."""

    model: str

    @field_validator("model")
    @classmethod
    def _local_path(cls, value: str, info: ValidationInfo) -> str:
        resolved = resolve_path(value, info)
        if resolved.startswith("/") and not Path(resolved, "config.json").is_file():
            raise ValueError(f"{resolved} holds no checkpoint (config.json); give a model folder or a hub id")
        return resolved

    @property
    def name(self) -> str:
        """The hub id, or the folder's name."""
        return Path(self.model).name if self.model.startswith("/") else self.model

    def identity(self) -> dict[str, Any]:
        """Return all that this role decides, with the weights identified by content and not by place."""
        return self.model_dump(mode="json", exclude={"model"}) | {"weights": weights_id(self.model)}


class Recipe(Spec):
    """How a model is fine-tuned. Defaults are the paper's (full fine-tuning, three epochs, context 16,384)."""

    learning_rate: float = Field(1e-5, gt=0)
    epochs: float = Field(3, gt=0)
    max_steps: int | None = Field(None, gt=0, description="replaces epochs")
    batch_size: int = Field(24, gt=0, description="examples per optimiser step")
    micro_batch_size: int = Field(1, gt=0, description="examples per forward pass; divides batch_size")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(16384, gt=0, description="tokens; a longer row fails the render gate")
    bf16: bool = True
    gradient_checkpointing: bool = True

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self


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


class Wording(Spec):
    """A prompt with `{prompt}` and, where the role is shown them, `{summary}`, `{answer}` and `{trace}`."""

    version: str = "1"
    template: str


class FunctionCompressor(Spec):
    """A Python function from trace to summary, as `module:function`."""

    kind: Literal["function"]
    function: str = Field(pattern=r"^[\w.]+:\w+$")


class ModelCompressor(Model):
    """A prompted model, never fine-tuned, that writes target-style summaries of traces (paper section 3)."""

    kind: Literal["model"]
    sampling: Sampling = Sampling()
    wording: Wording | None = None


class Surrogate(Model):
    """The open reasoning model whose traces the inverter learns from."""

    sampling: Sampling = Sampling()
    wording: Wording = Wording(template="{prompt}")


class Inverter(Model):
    """The model fine-tuned to write a trace from what a target shows; one is trained per exposure."""

    recipe: Recipe = Recipe()
    sampling: Sampling = Sampling()
    wording: dict[Exposure, Wording] = Field(default_factory=dict)


class Student(Model):
    """The base model every condition fine-tunes a copy of, once per seed."""

    recipe: Recipe = Recipe(batch_size=96)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    sampling: Sampling = Sampling(max_new_tokens=32768)
    wording: Wording = Wording(template="{prompt}")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"seeds must differ, got {list(value)}")
        return value


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


class Compute(Spec):
    """Where model steps run: so many worker processes on this machine, or none (in this process)."""

    processes: int = Field(0, ge=0, le=64)
    threads: int = Field(1, gt=0, description="PyTorch threads per process")


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
    compute: Compute = Compute()
    summary_style: SummaryStyle = SummaryStyle()
    decontamination: Decontamination = Decontamination()
    fidelity_words: Words = Field("one_line", description="how fidelity finds words; sentences needs NLTK's punkt_tab")
    fresh_days: int = Field(45, gt=0, description="a target's outputs that are older are shown as stale in the UI")
    recollect: str = Field(
        "0 3 1 * *",
        pattern=r"^\S+( \S+){4}$",
        description="cron, UTC: when known targets are collected anew, once that schedule is switched on",
    )

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
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError(f"benchmarks: each name may stand once, got {names}")
        return self

    def derived_seed(self, *purpose: str | int) -> int:
        """Return a seed of 31 bits for one purpose, different for every study seed."""
        return int(digest([self.seed, *purpose]), 16) % 2**31

    @property
    def trained_conditions(self) -> tuple[Condition, ...]:
        """The conditions that fine-tune a student."""
        return tuple(condition for condition in self.conditions if condition != "base")


def load_study(path: Path, *, seed: int | None = None) -> Study:
    """Read a study file; `seed` replaces the study's own.

    Raises:
        SpecError: See `load_spec`.
    """
    return load_spec(Study, path, **({} if seed is None else {"seed": seed}))
