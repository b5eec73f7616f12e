"""Every number of every method, in one place, with its source; torch-free."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from sats_core.record import Record

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class MethodRecord(Record):
    """Base of a method's own settings: a number is a number, not a text or a yes that reads so."""

    model_config = ConfigDict(strict=True)


class FinetuneSettings(MethodRecord):
    """Plain fine-tuning has nothing to set: cross-entropy on the step's labels."""


class JointSettings(MethodRecord):
    """Training on all classes at once has nothing to set either."""


class LwfSettings(MethodRecord):
    """Learning without forgetting (Li & Hoiem, ECCV 2016), weight as MiB compares it (4.1)."""

    distillation_weight: Weight = 100.0
    """Weight of the distillation over the old channels."""


class IltSettings(MethodRecord):
    """ILT (Michieli & Zanuttigh, ICCV workshops 2019), weights as SATS compares it."""

    distillation_weight: Weight = 10.0
    """Weight of the distillation over the old channels."""
    feature_weight: Weight = 10.0
    """Weight of the mean squared difference of the backbone's last stage."""


class MibSettings(MethodRecord):
    """MiB (Cermelli et al., CVPR 2020), weight as SATS compares it on SegFormer."""

    distillation_weight: Weight = 40.0
    """Weight of the unbiased distillation of the outputs."""


class SupervisedSettings(MethodRecord):
    """What is left to choose where weights are held and no outputs."""

    cross_entropy: Literal["unbiased", "plain"] = "unbiased"
    """What background teaches: "background or any old class" (MiB), or background."""


class KfacSettings(SupervisedSettings):
    """Quadratic penalty with Kronecker-factored curvature (Lee et al., CVPR 2020)."""

    weight: Weight = 1.0
    """Weight of the penalty; by 1 it counts what the loss of the steps before would rise by, to
    second order."""
    damping: Weight = 1e-3
    """What is added to the curvature of each weight."""
    earlier: Share = 1.0
    """What the curvature of earlier steps counts when that of a step is added to it."""
    pictures: int = Field(200, ge=1, le=100_000)
    """Most pictures of a step that its curvature is found on."""


class ResidualSettings(SupervisedSettings):
    """Residual continual learning (Lee et al., AAAI 2020)."""

    decay: Weight = 1e-3
    """Factor of half the squared shares, which pulls every channel towards the old network."""
    rate: float = Field(0.01, gt=0, le=1)
    """Learning rate of the shares (Adam)."""
    passes: int = Field(5, ge=0, le=1000)
    """Over the step's pictures, in which the shares are learned."""


class PseudoLabelSettings(MethodRecord):
    """Pseudo-labels from the old model's entropy (PLOP, section 3.3)."""

    entropy_floor: Share = 0.001
    """Least threshold of a class's entropy, below which pseudo-labels are kept."""
    thresholds: Literal["released", "median"] = "released"
    """A class's threshold as the code finds it that gave the published figures, or the exact
    median of its entropies, as the paper has it."""


class UnsureSettings(PseudoLabelSettings):
    """What is left to choose where the cross-entropy is on pseudo-labels."""

    unsure: Literal["ignored", "unbiased"] = "ignored"
    """What background teaches where the old model is unsure: nothing, or that it is "background
    or any old class" (PLOP's other published choice). On ignored pixels nothing opposes a drift
    to the newest class: unbiased distillation has no gradient between it and background."""


class PlopSettings(UnsureSettings):
    """PLOP (Douillard et al., CVPR 2021, section 4.1)."""

    pod_weight: Weight = 0.01
    """Factor of local POD on each of the backbone's stages and on the decoder's output."""
    pod_logits_weight: Weight = 0.0005
    """Factor of local POD on the logits."""


class SatsSettings(PseudoLabelSettings):
    """Weights of SATS (Qiu et al., Pattern Recognition 2023, section 4.1), whatever its
    cross-entropy is."""

    distillation_weight: Weight = 20.0
    """Weight of the unbiased distillation of the outputs (MiB)."""
    attention_weight: Weight = 20.0
    """Weight of the self-attention transfer."""


class PublishedSatsSettings(UnsureSettings, SatsSettings):
    """SATS as published: its cross-entropy is on pseudo-labels."""


class SatsPlusSettings(SatsSettings):
    """Our own combination on top of SATS (docs/decisions/0007)."""

    distillation_weight: Weight = 40.0
    """As MiB has it on SegFormer."""
    realign: bool = True
    """Whether all rows are solved anew after training, as `frozen` solves them, where the version
    before keeps features of its classes."""
    presence: float | None = Field(None, gt=0, le=1)
    """Share of the pictures to come that are like the step's, for that; by default
    N / (N + old classes)."""


class FitSettings(MethodRecord):
    """Solving rows of the classifier on features that stay (docs/decisions/0011, 0014)."""

    distillation_weight: Weight = 1.0
    """Weight of the unbiased distillation (MiB), as a sum over channels like the cross-entropy:
    the mean over C_old channels, which other methods take, times C_old."""
    presence: float | None = Field(None, gt=0, le=1)
    """Share of the pictures to come that are like the step's. By default N / (N + old classes),
    replayed features standing for the others; without features 0.1, the share that shows a new
    class: where more of the step's pictures do, its pixels count less by as much."""
    class_balance: Share = 0.0
    """Each class's pixels count times its frequency to minus this; 0 counts every pixel alike."""
    decay: Weight = 0.05
    """Factor of half each squared row of standardised features, bias left out, times the share of
    the pixels that are its class's."""
    pixels: int = Field(20_000, ge=100, le=1_000_000)
    """Pixels sampled of all pictures together; each takes 4 bytes a feature and a channel of the
    backbone's stages, some 24 a feature while solving, and some 20 a unit while those are
    learned."""
    iterations: int = Field(150, ge=1, le=10_000)
    """Most steps of L-BFGS."""
    tolerance: float = Field(1e-4, gt=0, lt=1)
    """Largest gradient at which the rows count as solved."""


class FrozenSettings(FitSettings):
    """Solving rows and nothing else."""

    rows: Literal["new", "all"] = "new"
    """Which rows learn where the version before keeps features of its classes; without these the
    old rows stay whatever is said (docs/decisions/0014)."""
    residual: bool = False
    """Whether the background's row learns too where the new ones learn alone (after BARM)."""
    units: int = Field(32, ge=0, le=1024)
    """Features that are learned for the step's classes, beside those of the head, from what the
    backbone's stages give; the head is so much wider from then on (docs/decisions/0033). 0 by
    default where the step's weights are averaged with those before it (`fusion`)."""


class UnlearnSettings(MethodRecord):
    """What a class is unlearned by, and what holds the others (docs/decisions/0027)."""

    erasure_weight: Weight = 5.0
    """Weight of the squared distance of what the class's pixels look like to the classifier from
    what background looks like."""
    separation_weight: Weight = 0.3
    """Weight of the same distance of their mean: what a linear discriminant has to go on."""
    collision_weight: Weight = 0.0
    """Weight of the gradient collision (Koh et al., ICCV 2023); it takes most of the time where it
    is asked for."""
    feature_weight: Weight = 40.0
    """Weight of the squared distance of all other pixels' features from what they were, in
    deviations."""
    distillation_weight: Weight = 40.0
    """Weight of the distillation of the outputs, as SATS has it."""
    attention_weight: Weight = 20.0
    """Weight of the self-attention transfer, as SATS has it."""
    supervision_weight: Weight = 5.0
    """Weight of the cross-entropy with the labels of what stays, where the pictures have any."""


METHOD_SETTINGS: dict[str, type[Record]] = {
    "finetune": FinetuneSettings,
    "lwf": LwfSettings,
    "ilt": IltSettings,
    "mib": MibSettings,
    "plop": PlopSettings,
    "sats": PublishedSatsSettings,
    "sats_plus": SatsPlusSettings,
    "frozen": FrozenSettings,
    "kfac": KfacSettings,
    "residual": ResidualSettings,
    "joint": JointSettings,
}
