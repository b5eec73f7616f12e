"""The learning core: continual semantic segmentation by self-attention transfer (SATS).

Importing this package loads no torch: `classes`, `errors`, `settings` and `data.readers` are
free of it, so that the HTTP service can share them. Everything else needs torch and timm.
"""
