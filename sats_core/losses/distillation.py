"""Plain distillation of outputs (Hinton et al., 2015) over the classes known before the step."""

from torch import Tensor


def distillation(logits: Tensor, old_logits: Tensor) -> Tensor:
    """Return the cross-entropy of old and new model over the old channels alone.

    As LwF and ILT are compared in MiB's and PLOP's released code: the new model's softmax runs
    over the old channels only, and the cross-entropy is averaged over them.

    Args:
        logits: (B, C, H, W) of the new model.
        old_logits: (B, C_old, H, W) of the old model; gets no gradient.

    Returns:
        (B, H, W).
    """
    target = old_logits.detach().softmax(dim=1)
    log_probabilities = logits[:, : old_logits.shape[1]].log_softmax(dim=1)
    return -(target * log_probabilities).mean(dim=1)
