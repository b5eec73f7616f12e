"""Versions mirrored to MLflow: a run, a registered version that segments, the alias `live`."""
