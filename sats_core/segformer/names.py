"""The one place that renames tensors between timm, Hugging Face and us; torch-free.

Hugging Face has two sets of names: the hub's classic ones, which transformers 4 and 5 both read
and both save, and those that transformers 5 uses in memory (`state_dict()`, or saved with
`save_original_format=False`). We read both and write the classic ones.
"""

import re

ENCODER = "segformer."
"""What every name of the encoder begins with, in a model that has more than the encoder."""
MIX = "head.mix.weight"
"""Of ours: (W, 4 W), a column block for each stage, the first stage first. Hugging Face's
`linear_fuse` is a 1x1 convolution over the stages in reverse, the last one first."""
FUSE = "decode_head.linear_fuse.weight"
CLASSIFIER = "decode_head.classifier."
VARIANCE = "decode_head.batch_norm.running_var"
COUNTER = "decode_head.batch_norm.num_batches_tracked"

_CLASSIC = tuple(
    (re.compile(pattern), into)
    for pattern, into in (
        (r"^(encoder\.|stages\.)", r"segformer.\1"),  # an encoder saved by itself
        (r"\.stages\.(\d+)\.patch_embeddings\.", r".encoder.patch_embeddings.\1."),
        (r"\.stages\.(\d+)\.blocks\.", r".encoder.block.\1."),
        (r"\.stages\.(\d+)\.layer_norm\.", r".encoder.layer_norm.\1."),
        (r"\.attention\.q_proj\.", ".attention.self.query."),
        (r"\.attention\.k_proj\.", ".attention.self.key."),
        (r"\.attention\.v_proj\.", ".attention.self.value."),
        (r"\.attention\.o_proj\.", ".attention.output.dense."),
        (r"\.sequence_reduction\.sequence_reduction\.", ".self.sr."),
        (r"\.sequence_reduction\.layer_norm\.", ".self.layer_norm."),
        (r"\.mlp\.fc1\.", ".mlp.dense1."),
        (r"\.mlp\.fc2\.", ".mlp.dense2."),
        (r"\.layernorm_before\.", ".layer_norm_1."),
        (r"\.layernorm_after\.", ".layer_norm_2."),
        (r"\.linear_projections\.", ".linear_c."),
    )
)
_FROM_TIMM = tuple(
    (re.compile(pattern), into)
    for pattern, into in (
        (r"^patch_embed\.", "segformer.encoder.patch_embeddings.0."),
        (r"^stages\.(\d+)\.downsample\.", r"segformer.encoder.patch_embeddings.\1."),
        (r"^stages\.(\d+)\.blocks\.", r"segformer.encoder.block.\1."),
        (r"^stages\.(\d+)\.norm\.", r"segformer.encoder.layer_norm.\1."),
        (r"(\.patch_embeddings\.\d+)\.norm\.", r"\1.layer_norm."),
        (r"\.norm1\.", ".layer_norm_1."),
        (r"\.norm2\.", ".layer_norm_2."),
        (r"\.attn\.q\.", ".attention.self.query."),
        (r"\.attn\.sr\.", ".attention.self.sr."),
        (r"\.attn\.norm\.", ".attention.self.layer_norm."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.mlp\.fc1\.", ".mlp.dense1."),
        (r"\.mlp\.fc2\.", ".mlp.dense2."),
        (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
    )
)
_FROM_HEAD = tuple(
    (re.compile(pattern), into)
    for pattern, into in (
        (r"^head\.project\.(\d)\.", r"decode_head.linear_c.\1.proj."),
        (r"^head\.mix\.", "decode_head.linear_fuse."),
        (r"^head\.finish\.0\.", "decode_head.batch_norm."),
    )
)
_KEY_VALUE = ".attn.kv."


def classic(name: str) -> str:
    """Return the hub's classic name of a tensor that either set of names may name."""
    for pattern, into in _CLASSIC:
        name = pattern.sub(into, name)
    return name


def of_timm(name: str) -> tuple[str, ...]:
    """Return the classic names of what a tensor of timm's encoder is made of, in order.

    One name, but for `attn.kv`: the key's rows lie above the value's.
    """
    if _KEY_VALUE in name:
        query = of_timm(name.replace(_KEY_VALUE, ".attn.q."))[0]
        return tuple(query.replace(".query.", part) for part in (".key.", ".value."))
    for pattern, into in _FROM_TIMM:
        name = pattern.sub(into, name)
    return (name,)


def of_head(name: str) -> str:
    """Return the classic name of a tensor of our head."""
    for pattern, into in _FROM_HEAD:
        name = pattern.sub(into, name)
    return name
