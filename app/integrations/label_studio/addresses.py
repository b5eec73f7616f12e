"""Where a task's picture may be fetched from, and where the token of Label Studio may go."""

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

CLOUD = ("s3", "gs", "azure-blob", "azure_spi", "redis", "gcswif")
"""Schemes that Label Studio itself resolves, to a link that it signs or to the picture."""
FILES = ("/data/", "/storage-data/", "/tasks/", "/projects/")
"""Paths of Label Studio under which pictures lie; nothing else of it is asked for as a picture."""
MAX_LENGTH = 8192
"""Longest address of a picture; a signed link has some 2,000 characters."""
_DOTS = re.compile(r"(^|/)\.\.?(/|$)")


class RefusedAddressError(Exception):
    """A picture's address leads where nothing is fetched from."""


@dataclass(frozen=True)
class Place:
    """Where to ask for a picture.

    Attributes:
        url: absolute.
        ours: whether it is the configured Label Studio: the token goes there, and nowhere else.
    """

    url: httpx.URL
    ours: bool


class Places:
    """Tells which addresses are fetched.

    Args:
        base: URL of Label Studio, a path behind the host is part of it.
        others: origins (`https://host[:port]`) of signed links.
    """

    def __init__(self, base: str, others: tuple[str, ...] = ()) -> None:
        self._base = httpx.URL(base.rstrip("/") + "/")
        self._own = _origin(self._base)
        self._others = frozenset(_origin(httpx.URL(one)) for one in others)

    def api(self, path: str) -> httpx.URL:
        """Return the URL of a call of Label Studio's API."""
        return self._base.join(path.lstrip("/"))

    def of_picture(self, address: str, task: int) -> Place:
        """Return where the picture is that a task names.

        Args:
            address: as it stands in the task's `data`.
            task: its id.

        Raises:
            RefusedAddressError: nothing is fetched from there.
        """
        if not 0 < len(address) <= MAX_LENGTH:
            raise RefusedAddressError(f"an address has 1 to {MAX_LENGTH} characters")
        scheme = address.partition("://")[0] if "://" in address else ""
        if scheme in CLOUD:
            named = base64.urlsafe_b64encode(address.encode("utf-8", "replace")).decode()
            return self.checked(self.api(f"tasks/{task}/resolve/").copy_set_param("fileuri", named))
        rooted = address.startswith("/") and not address.startswith("//")
        prefix = self._base.path.rstrip("/")
        if rooted and not address.startswith(prefix + "/"):
            address = prefix + address  # it stands as if Label Studio had no path of its own
        return self.following(self._base, address)

    def following(self, here: httpx.URL, address: str) -> Place:
        """Return where an address leads that stands at `here`, as a redirect's does.

        Raises:
            RefusedAddressError: nothing is fetched from there.
        """
        try:
            return self.checked(here.join(address))
        except (httpx.InvalidURL, ValueError) as error:
            raise RefusedAddressError("the picture's address is no URL") from error

    def checked(self, url: httpx.URL) -> Place:
        """Return the place of an absolute URL.

        Raises:
            RefusedAddressError: nothing is fetched from there.
        """
        origin = _origin(url)
        if url.userinfo:
            raise RefusedAddressError("an address with a password is not fetched")
        if origin == self._own:
            self._check_path(url)
            return Place(url, ours=True)
        if origin in self._others:
            return Place(url, ours=False)
        raise RefusedAddressError(
            f"{url.scheme}://{url.netloc.decode('ascii', 'replace')} is neither Label Studio nor "
            "among SATS_LABEL_STUDIO_PICTURE_ORIGINS"
        )

    def _check_path(self, url: httpx.URL) -> None:
        path = unquote(unquote(url.raw_path.decode("ascii", "replace").partition("?")[0]))
        base = self._base.path.rstrip("/")
        inside = path[len(base) :] if path.startswith(base + "/") else path
        if _DOTS.search(path) or "\\" in path or not inside.startswith(FILES):
            raise RefusedAddressError(f"{path[:200]} of Label Studio is no picture")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host.lower(), port
