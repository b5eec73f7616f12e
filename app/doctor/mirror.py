"""MLflow has what the registry has. The worker that mirrors says whether; nobody is asked here."""

import json
from collections.abc import Sequence

from app.doctor.finding import Check, Finding, Installation


def find_behind(installation: Installation) -> Sequence[Finding]:
    """Return what could not be mirrored when it was last tried."""
    settings = installation.settings
    if settings.mlflow_tracking_uri is None or not settings.mlflow_file.is_file():
        return []
    where = settings.mlflow_tracking_uri
    try:
        said = json.loads(settings.mlflow_file.read_bytes())
        behind = [f"since {said['since']}: {one}" for one in said["behind"]]
    except (ValueError, TypeError, KeyError):
        behind = [f"{settings.mlflow_file.name} does not say: it is written anew at the next try"]
    return [Finding("mlflow-behind", one, where) for one in behind]


CHECKS = (Check(find_behind),)
