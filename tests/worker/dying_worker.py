"""The scripted worker, but it kills itself once a result's files are staged."""

import os
import signal

from tests.worker.scripted_worker import app as app
from worker import registering


def die(*_args):
    os.kill(os.getpid(), signal.SIGKILL)


registering.lock_blobs = die
