"""The scripted worker, that believes it has a GPU."""

import os
from pathlib import Path

from app.db import DeviceKind
from app.settings import get_settings
from app.workers.needs import Resources
from tests.worker.scripted_child import Control
from worker import factory
from worker.device import Device

factory.find_device = lambda *_: Device("pretended", 1, Resources(DeviceKind.CUDA, 24_000))
control = Control(Path(os.environ["SCRIPTED_CHILD_CONTROL"]))
app = factory.make_worker(get_settings(), control.command())
