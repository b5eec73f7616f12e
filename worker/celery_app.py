"""The app of `python -P -m worker`, and of `celery --app worker.celery_app`."""

from app.settings import get_settings
from worker.factory import make_worker

app = make_worker(get_settings())
