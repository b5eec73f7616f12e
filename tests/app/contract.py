"""`make contract`: write the pages of docs/ that the code says itself; a test holds them.

A change of the HTTP contract is then a change of a file that a reviewer reads.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from app.main import create_app
from app.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def openapi() -> str:
    """Return the OpenAPI document, keys sorted: in which order routers stand says nothing."""
    document = create_app(Settings()).openapi()
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType({"openapi.json": openapi})
"""What each page says now, by its name in docs/."""


def main() -> None:
    """Write every page anew."""
    for name, text in PAGES.items():
        (DOCS / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
