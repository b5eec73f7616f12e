"""The real worker with the scripted child: `celery --app tests.worker.scripted_worker worker`."""

import os
from pathlib import Path

from app.settings import get_settings
from tests.worker.scripted_child import Control
from worker.factory import make_worker

app = make_worker(get_settings(), Control(Path(os.environ["SCRIPTED_CHILD_CONTROL"])).command())
