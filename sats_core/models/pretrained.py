"""Where a backbone's first weights come from: a directory, timm's hub, Hugging Face's."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sats_core.errors import ModelError
from sats_core.models.backbone import Backbone, seeded_backbone
from sats_core.segformer import config, names
from sats_core.segformer.layout import SAFETENSORS, is_hub_id
from sats_core.segformer.variants import DEPTHS
from sats_core.segformer.weights import as_float, check, encoder_from_hub, renamed

SCRATCH = "scratch"
HUB_SECONDS = 5
"""How long the hub may take to say what it has."""


def start_backbone(
    name: str, seed: int, pretrained: bool, directory: Path | None
) -> tuple[Backbone, str]:
    """Build a backbone for a base step and say where its first weights came from.

    Args:
        name: timm's name, `mit_b0` ... `mit_b5`, or the hub id of a SegFormer, whose config says
            which of these it is; a directory of that id in `directory` is taken first.
        seed: of random weights.
        pretrained: whether to look for weights.
        directory: pretrained weights at hand.

    Raises:
        ModelError: no such backbone; weights that do not fit it; or a SegFormer named by its id
            that is nowhere to be had.
    """
    if "/" in name:
        return _named_segformer(name, seed, pretrained, directory)
    backbone = seeded_backbone(name, seed)
    return backbone, load_pretrained(backbone, directory) if pretrained else SCRATCH


def load_pretrained(backbone: Backbone, directory: Path | None) -> str:
    """Load pretrained weights into `backbone` and say where they came from.

    In `directory` a file `<name>.safetensors` is taken first (timm's names, or for `mit_*` Hugging
    Face's), then for `mit_*` a directory `<name>/` as the hub has it; then the hub is asked.

    Returns:
        The source, for the version's record; "scratch" where there are no weights to be had.

    Raises:
        ModelError: weights are there but do not fit the backbone.
    """
    path = directory / f"{backbone.name}.safetensors" if directory else None
    if path and path.is_file():
        _load_file(backbone, path)
        return f"file {path.name}"
    folder = directory / backbone.name if directory and backbone.name in DEPTHS else None
    if folder and (folder / config.FILE).is_file():
        _load_directory(backbone, folder)
        return f"directory {folder.name}"
    repository = backbone.hub_id
    if repository is None:
        return f"{SCRATCH} (timm knows no pretrained weights of it)"
    try:
        # timm's own loading would fall back to a pickle; only safetensors are opened here.
        weights = _downloaded(repository, SAFETENSORS)
    except (OSError, ValueError, HfHubHTTPError) as error:
        # An unreachable hub is ordinary: no network, or a machine that may not ask.
        return f"{SCRATCH} (no pretrained weights: {type(error).__name__})"
    _load_file(backbone, weights)
    return f"{'hub' if backbone.name in DEPTHS else 'timm hub'}: {repository}"


def _named_segformer(
    name: str, seed: int, pretrained: bool, directory: Path | None
) -> tuple[Backbone, str]:
    if not is_hub_id(name):
        raise ModelError(f"{name!r} is no hub id: owner/name, letters, digits and - _ . in each")
    folder = directory / name if directory else None
    if folder and (folder / config.FILE).is_file():
        source, said, weights = f"directory {name}", folder / config.FILE, folder / SAFETENSORS
    else:
        try:
            said, weights = _downloaded(name, config.FILE), _downloaded(name, SAFETENSORS)
        except (OSError, ValueError, HfHubHTTPError) as error:
            # Nothing else says what the backbone is: there is no start from scratch instead.
            raise ModelError(
                f"the backbone {name!r} is neither in the directory of backbones nor to be had "
                f"from the hub ({type(error).__name__})"
            ) from error
        source = f"hub: {name}"
    backbone = seeded_backbone(_encoder(said).backbone, seed)
    if not pretrained:
        return backbone, SCRATCH
    _load_file(backbone, weights)
    return backbone, source


def _downloaded(repository: str, file: str) -> Path:
    return Path(hf_hub_download(repository, file, etag_timeout=HUB_SECONDS))


def _load_directory(backbone: Backbone, folder: Path) -> None:
    known = _encoder(folder / config.FILE).backbone
    if known != backbone.name:
        raise ModelError(f"{folder.name}/{config.FILE} describes {known}, not {backbone.name}")
    _load_file(backbone, folder / SAFETENSORS)


def _encoder(path: Path) -> config.Encoder:
    try:
        with path.open("rb") as file:
            return config.read_encoder(file.read(config.MAX_BYTES + 1))
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from error


def _load_file(backbone: Backbone, path: Path) -> None:
    try:
        weights = load_file(path)
        ours = backbone.net.state_dict()
        if backbone.name in DEPTHS and not weights.keys() & ours.keys():
            weights = _from_hub(weights, ours)
        backbone.net.load_state_dict({k: v for k, v in weights.items() if k in ours})
    except (SafetensorError, OSError, RuntimeError, ModelError) as error:
        raise ModelError(
            f"{path.name} does not hold the weights of {backbone.name!r}: {error}"
        ) from error


def _from_hub(weights: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's tensors; whatever head the file has beside its encoder is left out."""
    wanted = {
        part: tuple(chunk.shape)
        for name, tensor in ours.items()
        for part, chunk in zip(
            names.of_timm(name), tensor.chunk(len(names.of_timm(name))), strict=True
        )
    }
    found = {k: v for k, v in renamed(weights).items() if k.startswith(names.ENCODER)}
    check(found, wanted)
    return encoder_from_hub(as_float(found), ours)
