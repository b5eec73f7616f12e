"""What `celery --app worker.celery_app worker` runs."""

from app.settings import get_settings
from worker.factory import make_worker

app = make_worker(get_settings())
