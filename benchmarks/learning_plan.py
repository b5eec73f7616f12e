"""What the learning benchmark runs: presets, variants of methods, runs and their folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sats_core.data.protocols import Setting
from sats_core.settings import StepSettings

BASE, JOINT = "base", "joint"


@dataclass(frozen=True)
class Preset:
    """How large the model is and how long it trains."""

    backbone: str
    size: int
    batch_size: int
    optimizer: str
    epochs: dict[str, tuple[int, int]]
    """Of the base step and of later ones, by data set."""
    step_rate: float | None = None
    """Peak learning rate of later steps; None takes the optimiser's default."""

    def settings(self, dataset: str, base: bool, **others: Any) -> StepSettings:
        """Return the settings of one step."""
        return StepSettings(
            backbone=self.backbone,
            size=self.size,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            epochs=self.epochs[dataset][0 if base else 1],
            learning_rate=None if base else self.step_rate,
            **others,
        )


PRESETS = {
    "cpu": Preset(
        "pvt_v2_b0",
        128,
        8,
        "adamw",
        {"ccp": (24, 16), "voc8": (9, 8), "voc": (30, 30), "ade20k": (30, 30)},
    ),
    # The same with a surer old model: what of the figures is due to the short base step?
    "cpu-long": Preset(
        "pvt_v2_b0",
        128,
        8,
        "adamw",
        {"ccp": (60, 16), "voc8": (24, 8), "voc": (60, 30), "ade20k": (60, 30)},
    ),
    # The published schedule (SATS, 4.1), on the backbone nearest to SegFormer-B2.
    "gpu": Preset(
        "pvt_v2_b2",
        512,
        24,
        "sgd",
        dict.fromkeys(("ccp", "voc8", "voc"), (30, 30)) | {"ade20k": (60, 60)},
    ),
    # To see that everything works; its figures mean nothing.
    "quick": Preset(
        "pvt_v2_b0", 32, 8, "adamw", dict.fromkeys(("ccp", "voc8", "voc", "ade20k"), (1, 1))
    ),
}


@dataclass(frozen=True)
class Variant:
    """A method with its options; written `sats`, `sats@memory=300`, `mib@fusion=1`."""

    method: str
    memory: int = 0
    fusion: bool = False
    weights: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read a variant.

        Raises:
            ValueError: an option without a number.
        """
        method, *options = text.split("@")
        pairs = dict(option.split("=") for option in options)
        fusion = pairs.pop("fusion", "0") == "1"
        memory = int(pairs.pop("memory", 0))
        return cls(
            method,
            memory,
            fusion,
            tuple((name, float(value)) for name, value in pairs.items()),
        )

    @property
    def label(self) -> str:
        """Its name in folders and tables."""
        options = [f"memory={self.memory}"] if self.memory else []
        options += ["fusion=1"] if self.fusion else []
        options += [f"{name}={value:g}" for name, value in self.weights]
        return "@".join([self.method, *options])


@dataclass(frozen=True)
class Sequence:
    """One run: a protocol, a preset, a seed, a variant (or `base` or `joint`)."""

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

    @property
    def folder(self) -> Path:
        """Where its steps are kept."""
        fold = "tuning" if self.tuning else "validation"
        # Training on everything at once is the same whatever the order of the steps would be.
        sequence = (
            f"{self.dataset}-all"
            if self.variant.method == JOINT
            else f"{self.protocol}-{self.setting}"
        )
        run = f"{self.preset}-{fold}"
        return self.out / sequence / run / f"seed{self.seed}" / self.variant.label

    @property
    def dataset(self) -> str:
        """Name of the data set, as protocols begin with it."""
        return self.protocol.split("-", 1)[0]
