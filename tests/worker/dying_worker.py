"""The scripted worker, but it kills itself once a result's files are staged."""

import os
import signal

from tests.worker.scripted_worker import app as app
from worker import registering

_stage = registering._stage


def stage_and_die(*args):
    _stage(*args)
    os.kill(os.getpid(), signal.SIGKILL)


registering._stage = stage_and_die
