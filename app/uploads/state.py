"""What a process of the API knows of uploads that no row says."""

from dataclasses import dataclass, field

from app.uploads.checks import Checks
from app.uploads.looks import Looks
from app.uploads.remote import Fetches


@dataclass(frozen=True)
class UploadState:
    """Turns: of those who look, who fetch, and who put parts together."""

    looks: Looks = field(default_factory=Looks)
    fetches: Fetches = field(default_factory=Fetches)
    checks: Checks = field(default_factory=Checks)
