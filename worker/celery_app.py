"""The app of `python -P -m worker`, and of `celery --app worker.celery_app`."""

from app.keys.secret import LostSecretError
from app.settings import get_settings
from worker.device import NoSuchDeviceError
from worker.factory import make_worker

try:
    app = make_worker(get_settings())
except (NoSuchDeviceError, LostSecretError) as error:
    raise SystemExit(f"sats worker: {error}") from error
