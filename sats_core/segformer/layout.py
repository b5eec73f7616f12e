"""What a checkpoint and its files are called, and how large they may be; torch-free."""

import re

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
"""Behind either, of the file that says which shard holds which tensor."""
SHARD = re.compile(r"[A-Za-z0-9][\w.-]{0,199}\.(safetensors|bin)", re.ASCII)
MAX_SHARDS = 100
MAX_BYTES = 2 * 2**30
"""Of all weights together; the largest SegFormer, B5, has 0.34 GB."""
MAX_INDEX_BYTES = 2**22
MAX_HEADER_BYTES = 2**22
"""Of a safetensors file, where it lists its tensors; B5's has 0.15 MB. The library itself takes
100 MB, and some times that to read it."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether a model on the hub may be called so: `owner/name`.

    Such a name is a path, too, that does not lead out of the directory that it is looked for in.
    """
    return _HUB_ID.fullmatch(name) is not None and ".." not in name
