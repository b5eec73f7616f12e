"""The secret under the digests of API keys."""

import os
import secrets
import tempfile
from pathlib import Path

from sqlalchemy import Engine, inspect, select

from app.db import ApiKey, read_session
from app.settings import Settings

SECRET_BYTES = 32


class LostSecretError(Exception):
    """There is no secret, and keys were made under one."""


def read_secret(settings: Settings, engine: Engine | None = None) -> bytes:
    """Return the secret from the settings, else from `data_dir/secret`, made once.

    Args:
        settings: of the process.
        engine: the database, which tells a folder that is new from one that is not mounted; None:
            nobody is asked.

    Raises:
        LostSecretError: with another secret none of the keys that there are would work, not even
            once the folder is back, until every process was started again.
    """
    if settings.key_secret is not None:
        return settings.key_secret.get_secret_value().encode()
    path = settings.data_dir / "secret"
    if not path.exists():
        # Looked for again: another process may have made it since, and its first key under it.
        if engine is not None and _has_keys(engine) and not path.exists():
            raise LostSecretError(
                f"the database has API keys, and there is no {path} under which they were made: is "
                "the disk not mounted? Put it back from a backup, or set SATS_KEY_SECRET. Where it "
                "is lost those keys are too: write 64 random characters there, and make others"
            )
        _make(path)
    return path.read_bytes()


def _has_keys(engine: Engine) -> bool:
    if not inspect(engine).has_table(ApiKey.__tablename__):
        return False
    with read_session(engine) as session:
        return session.scalar(select(ApiKey.id).limit(1)) is not None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="secret-")  # mode 0600
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(secrets.token_hex(SECRET_BYTES).encode())
            out.flush()
            os.fsync(out.fileno())
        # A link, not a rename: of two processes that start at once the first one's secret stays.
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
