"""The links that every page has: one line here, and a page is in the navigation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.web.visitors import Visitor


@dataclass(frozen=True)
class Link:
    """A link of the navigation.

    Attributes:
        title: what it says.
        href: where it leads; the pages below it belong to it.
        shown: whether a visitor may go there.
    """

    title: str
    href: str
    shown: "Callable[[Visitor], bool]"

    def is_at(self, path: str) -> bool:
        """Whether a path is the link's own, or below it and no other link's."""
        if path in (link.href for link in LINKS):
            return path == self.href
        return self.href != "/" and path.startswith(f"{self.href}/")


LINKS = (
    Link("Home", "/", lambda visitor: visitor.sees_tasks),
    Link("Tasks", "/ui/tasks", lambda visitor: visitor.sees_tasks),
    Link("New task", "/ui/tasks/new", lambda visitor: visitor.submits),
    Link("Versions", "/ui/models", lambda visitor: visitor.sees_versions),
    Link("Try it", "/try", lambda visitor: visitor.segments),
    Link("Keys", "/ui/keys", lambda visitor: visitor.sees_service),
    Link("Audit log", "/ui/audit", lambda visitor: visitor.sees_service),
    Link("Settings", "/ui/settings", lambda visitor: visitor.sees_service),
    Link("API", "/docs", lambda _: True),
)


def links(visitor: "Visitor") -> Sequence[Link]:
    """Return where a visitor may go."""
    return [link for link in LINKS if link.shown(visitor)]
