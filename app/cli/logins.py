"""Services that somebody has logged in to, and their keys: a file of the user's.

Only commands that ask a service read it. What works on the service's own data does not, whether
somebody has logged in somewhere or not.
"""

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.http.loopback import is_loopback
from sats_core.files import whole

ONLY_THE_USER = 0o600


class LoginsError(Exception):
    """The file of logins cannot be read or written."""


@dataclass(frozen=True)
class Logins:
    """What the file says.

    Attributes:
        default: the service that is asked where no other one is named; None: nobody says.
        keys: of services by their address; empty where one asks for none.
    """

    default: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def added(self, url: str, key: str) -> "Logins":
        """Return them with a service, which is the default from now on."""
        return Logins(url, {**self.keys, url: key})

    def without(self, url: str) -> "Logins":
        """Return them without a service; no other one becomes the default by that."""
        default = None if self.default == url else self.default
        return Logins(default, {one: key for one, key in self.keys.items() if one != url})


def place() -> Path:
    """Return where the file is, or would be.

    Raises:
        LoginsError: this user has no home.
    """
    said = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = said if said.is_absolute() else Path.home() / ".config"
    except RuntimeError as error:
        raise LoginsError("there is no home directory to keep keys in") from error
    return folder / "sats" / "services.json"


def read_logins() -> Logins:
    """Return who is logged in where; nowhere, if there is no such file.

    Raises:
        LoginsError: it is there and cannot be read.
    """
    try:
        path = place()
    except LoginsError:
        return Logins()
    try:
        return _logins(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return Logins()
    except OSError as error:
        raise LoginsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoginsError(
            f"{path} is not what `sats login` writes: remove it, and log in again"
        ) from error


def _logins(said: Any) -> Logins:
    keys = {url: service["key"] for url, service in said["services"].items()}
    default = said["default"]
    if not all(isinstance(key, str) for key in keys.values()):
        raise TypeError("a key is a text")
    if default is not None and default not in keys:
        raise ValueError("the default is none of the services")
    return Logins(default, keys)


def change_logins(change: Callable[[Logins], Logins]) -> Path:
    """Change what the file says, whatever another terminal wrote meanwhile; return where it is.

    Raises:
        LoginsError: it cannot be read or written.
    """
    path = place()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path):
            _write(path, change(read_logins()))
    except OSError as error:
        raise LoginsError(f"{path} cannot be written: {error.strerror}") from error
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, logins: Logins) -> None:
    services = {url: {"key": key} for url, key in logins.keys.items()}
    text = json.dumps({"default": logins.default, "services": services}, indent=2) + "\n"
    with whole(path) as partial:
        partial.unlink(missing_ok=True)
        partial.touch(mode=ONLY_THE_USER, exist_ok=False)  # before there is a key in it
        partial.write_text(text)


def seen_by_others() -> str | None:
    """Return what to say where others may read the file; None: they may not, or there is none."""
    try:
        path = place()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (LoginsError, OSError):
        return None
    if not mode & ~ONLY_THE_USER & 0o077:
        return None
    return f"{path} has mode {mode:04o}, and its keys can be read by others: chmod 600 it"


def same(url: str) -> str:
    """Return an address as every other spelling of it is kept; what is none, as it is."""
    import httpx  # completion, which need not wait for it, loads this module

    try:
        return str(httpx.URL(url.strip())).rstrip("/")
    except httpx.InvalidURL:
        return url


def who_is_asked(url: str | None, otherwise: str) -> tuple[str, str | None]:
    """Return a service's address, and the key for it.

    What the call and its environment say goes before the file: a key in `SATS_API_KEY` goes to the
    address that was named, or to `otherwise`, and to no service that only the file knows. A key of
    the file goes to its own service alone.

    Args:
        url: that the call names; None: it names none.
        otherwise: where nobody has logged in.

    Returns:
        The address, and a key; None where the environment's counts.

    Raises:
        LoginsError: the file is there and cannot be read.
    """
    if os.environ.get("SATS_API_KEY", "").strip():
        return url or otherwise, None
    logins = read_logins()
    asked = url or logins.default or otherwise
    return asked, logins.keys.get(same(asked))


def sent_openly(url: str) -> str | None:
    """Return what to say before a key goes to an address in the clear; None: it does not."""
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return None
    if parsed.scheme != "http" or is_loopback(parsed.host):
        return None
    return f"http://{parsed.host} is not encrypted: whoever stands between can read the API key"
