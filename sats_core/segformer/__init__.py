"""SegFormer as Hugging Face keeps it: its config, its names, in and out."""
