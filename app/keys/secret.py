"""The secret under the digests of API keys."""

import os
import secrets
import tempfile
from pathlib import Path

from app.settings import Settings

SECRET_BYTES = 32


def read_secret(settings: Settings) -> bytes:
    """Return the secret from the settings, else from `data_dir/secret`, made once."""
    if settings.key_secret is not None:
        return settings.key_secret.get_secret_value().encode()
    path = settings.data_dir / "secret"
    if not path.exists():
        _make(path)
    return path.read_bytes()


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
