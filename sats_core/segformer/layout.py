"""What the files of a checkpoint are called, and how large they may be; torch-free."""

import re

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
"""Behind either, of the file that says which shard holds which tensor."""
SHARD = re.compile(r"[A-Za-z0-9][\w.-]{0,199}\.(safetensors|bin)", re.ASCII)
MAX_SHARDS = 100
MAX_FILE_BYTES = 2 * 2**30
"""Of one weight file; the largest SegFormer, B5, has 0.34 GB in all."""
MAX_INDEX_BYTES = 2**22
