"""`/ui/settings`: what this process was set to, secrets left out."""

import re
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import SecretStr

from app.http.dependencies import AppServices
from app.settings import Settings
from app.web.rendering import page
from app.web.visitors import PageRoute, SeesService

GROUPS = {
    "key_cache_seconds": "Answering",
    "worker_device": "Workers",
    "label_studio_url": "Label Studio",
    "mlflow_tracking_uri": "MLflow",
    "store_url": "Object store",
    "keep_failed_hours": "How long things are kept",
    "data_dir": "Data, broker, access",
    "max_upload_bytes": "What may be sent",
    "gate_max_drop": "Gate",
    "lease_seconds": "Tasks",
    "threads": "Training",
    "webhook_private": "Webhooks",
}
"""Titles by the first setting below each, in the settings' own order."""

_URL = re.compile(r"([\w+.-]+://)([^@/?#]*@)?([^@?#]*)(\?[^@]*)?")
"""A scheme, who logs in, where, and options, which may hold a password."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True)
class Shown:
    """A setting as the page shows it.

    Attributes:
        variable: that it is read from.
        meaning: what it does; code stands between backticks.
        value: in force; None: nothing.
        default: likewise.
        given: whether somebody set it.
        bytes: the value, where it counts bytes.
    """

    variable: str
    meaning: str
    value: str | None
    default: str | None
    given: bool
    bytes: int | None


@router.get("/ui/settings")
def settings_page(request: Request, _visitor: SeesService, services: AppServices) -> Response:
    """Show the settings of the process that answers."""
    return page(request, "settings.html", {"groups": grouped(services.settings)})


def grouped(settings: Settings) -> dict[str, list[Shown]]:
    """Return every setting under its title, none of them a secret."""
    found: dict[str, list[Shown]] = {}
    title = ""
    for name in Settings.model_fields:
        title = GROUPS.get(name, title)
        found.setdefault(title, []).append(_shown(settings, name))
    return found


def _shown(settings: Settings, name: str) -> Shown:
    setting, value = Settings.model_fields[name], getattr(settings, name)
    return Shown(
        variable=f"SATS_{name.upper()}",
        meaning=setting.description or "",
        value=said(value, setting.default),
        default=said(setting.default),
        given=name in settings.model_fields_set,
        bytes=value if name.endswith("_bytes") else None,
    )


def said(value: Any, default: Any = None) -> str | None:
    """Return a value as it is spelled, without anything secret; None where there is none.

    Of a URL neither who logs in nor its options are said; of one that is not written as URLs are,
    only that it is set.
    """
    if value is None:  # over a default somebody wrote so
        return None if default is None else "never"
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, str) and "://" in value:
        return _without_secrets(value)
    return str(value)


def _without_secrets(url: str) -> str:
    found = _URL.fullmatch(url)
    if found is None:
        return "set"
    scheme, login, where, options = found.groups()
    return f"{scheme}{'…@' if login else ''}{where}{'?…' if options else ''}"
