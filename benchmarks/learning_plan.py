"""What the learning benchmark runs: presets, variants of methods, runs and their folders."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from sats_core.data.protocols import PROTOCOLS, Setting
from sats_core.settings import StepSettings
from sats_core.version_config import ALL_MLP, HeadName

Value = bool | int | float | str

METHODS = ("finetune", "lwf", "ilt", "mib", "plop", "sats", "sats_plus", "frozen")
"""What is compared, unless others are asked for."""
DEFAULT: str = StepSettings.model_fields["method"].default
"""The method that the service takes unless a task says otherwise."""

BASE, JOINT, FROZEN_BASE = "base", "joint", "frozen_base"
"""Runs beside the methods: the base step; all classes at once; the base version as it is."""


@dataclass(frozen=True)
class Preset:
    """How large the model is and how long it trains.

    Attributes:
        backbone: of the model.
        size: side of a crop, pixels.
        batch_size: pictures per optimiser step.
        optimizer: as in `StepSettings`.
        epochs: of the base step and of later ones, by data set; others are refused.
        joint_epochs: of `joint`'s first stage, by data set; None takes the base step's.
        base_rate: peak learning rate of base step and `joint`; None takes the optimiser's default.
        step_rate: the same of later steps.
        pretrained: whether the backbone must start from pretrained weights.
        most_pictures: of a later step, the first ones; None takes all.
        joint_of: name of the preset whose `joint` this one is measured against; None its own.
    """

    backbone: str
    size: int
    batch_size: int
    optimizer: str
    epochs: dict[str, tuple[int, int]]
    joint_epochs: dict[str, int] | None = None
    base_rate: float | None = None
    step_rate: float | None = None
    pretrained: bool = False
    most_pictures: int | None = None
    joint_of: str | None = None

    def settings(self, dataset: str, base: bool, **others: Any) -> StepSettings:
        """Return the settings of one step; `others` take precedence."""
        values = {
            "backbone": self.backbone,
            "size": self.size,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "epochs": self.epochs[dataset][0 if base else 1],
            "learning_rate": self.base_rate if base else self.step_rate,
            "pretrained": self.pretrained,
        }
        return StepSettings.model_validate(values | others)

    def first_joint_epochs(self, dataset: str) -> int:
        """Return the epochs of `joint`'s first stage."""
        return (self.joint_epochs or {}).get(dataset, self.epochs[dataset][0])


def _drawn(base_epochs: int) -> Preset:
    return Preset(
        "mit_b0",
        64,
        16,
        "adamw",
        {"drawn": (base_epochs, 10)},
        joint_epochs={"drawn": 10},
        base_rate=6e-4,
        step_rate=3e-4,
        pretrained=True,
        most_pictures=400,
        joint_of="drawn-most",
    )


DATASETS = tuple(dict.fromkeys(name.split("-", 1)[0] for name in PROTOCOLS))

PRESETS = {
    # Teachers of rising sureness: the same but for the length of the base step.
    "drawn-few": _drawn(2),
    "drawn-more": _drawn(6),
    "drawn-most": _drawn(20),
    # From an encoder that knows something: --backbone-dir names the folder that holds it.
    "mit_b0": Preset(
        "mit_b0",
        96,
        8,
        "adamw",
        {"ccp": (20, 10), "voc8": (10, 8)},
        base_rate=6e-4,
        step_rate=3e-4,
        pretrained=True,
    ),
    # From scratch.
    "cpu": Preset("pvt_v2_b0", 128, 8, "adamw", {"ccp": (24, 16), "voc8": (9, 8)}),
    # The published schedule (SATS, 4.1) and backbone, but for its drop path of 0.1: backbones here
    # have none.
    "gpu": Preset(
        "mit_b2",
        512,
        24,
        "sgd",
        dict.fromkeys(("ccp", "voc8", "voc"), (30, 30)) | {"ade20k": (60, 60)},
        pretrained=True,
    ),
    # To see that everything works; its figures mean nothing.
    "quick": Preset("pvt_v2_b0", 32, 8, "adamw", dict.fromkeys(DATASETS, (1, 1)), most_pictures=12),
}


@dataclass(frozen=True)
class Variant:
    """A method with its options; written `sats`, `sats@memory=300`, `plop@unsure=unbiased`.

    `sats@head=scaled` stands on a base step with that head.
    """

    method: str
    memory: int = 0
    fusion: bool = False
    head: HeadName = ALL_MLP
    options: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read a variant.

        Raises:
            ValueError: an option without a value, or a head that there is none of.
        """
        method, *said = text.split("@")
        pairs = dict(option.split("=") for option in said)
        fusion = pairs.pop("fusion", "0") == "1"
        memory = int(pairs.pop("memory", 0))
        head = pairs.pop("head", ALL_MLP)
        if head not in get_args(HeadName):
            raise ValueError(f"{text}: there is no head {head!r}")
        options = tuple((name, _value(value)) for name, value in pairs.items())
        return cls(method, memory, fusion, cast(HeadName, head), options)

    @property
    def label(self) -> str:
        """Its name in folders and tables."""
        options = [f"memory={self.memory}"] if self.memory else []
        options += ["fusion=1"] if self.fusion else []
        options += [f"head={self.head}"] if self.head != ALL_MLP else []
        options += [f"{name}={_text(value)}" for name, value in self.options]
        return "@".join([self.method, *options])


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _value(text: str) -> Value:
    """Read a setting as JSON would: `0.5`, `100`, `true`, and anything else as a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, Value) else text


@dataclass(frozen=True)
class Sequence:
    """One run: a protocol, a preset, a seed, a variant (or `base`, `joint`, `frozen_base`)."""

    protocol: str
    setting: Setting
    data: Path
    preset: str
    seed: int
    variant: Variant
    out: Path
    tuning: bool = False
    """Validate on a fold of the training pictures and leave the validation pictures alone."""
    until: int | None = None
    """Number of the last step to take; None takes all."""
    backbone_dir: Path | None = None
    """Where pretrained weights lie; None asks the hub."""

    @property
    def folder(self) -> Path:
        """Where its steps are kept."""
        fold = "tuning" if self.tuning else "validation"
        preset = self.preset
        sequence = f"{self.protocol}-{self.setting}"
        if self.variant.method == BASE:
            # The base step is the same however many classes come after it at a time, and whatever
            # learns them; a label says of which head it is.
            sequence = f"{self.dataset}-base{PROTOCOLS[self.protocol].sizes[0]}-{self.setting}"
        elif self.variant.method == JOINT:
            # Training on everything at once is the same whatever the order of the steps would be.
            sequence = f"{self.dataset}-{self._everything}"
            preset = PRESETS[preset].joint_of or preset
        run = f"{preset}-{fold}"
        return self.out / sequence / run / f"seed{self.seed}" / self.variant.label

    @property
    def _everything(self) -> str:
        """Name all classes that come in the end: those of the data set, or the first ones."""
        ours = [one for one in PROTOCOLS.values() if one.name.startswith(f"{self.dataset}-")]
        classes = sum(PROTOCOLS[self.protocol].sizes)
        return "all" if classes == max(sum(one.sizes) for one in ours) else f"first{classes}"

    @property
    def base(self) -> "Sequence":
        """The run of the base step that this one starts from: of the same head."""
        return replace(self, variant=Variant(BASE, head=self.variant.head))

    @property
    def dataset(self) -> str:
        """Name of the data set, as protocols begin with it."""
        return self.protocol.split("-", 1)[0]

    @property
    def last_step(self) -> int:
        """Number of the last step to take."""
        return self.until or len(PROTOCOLS[self.protocol].sizes) - 1
