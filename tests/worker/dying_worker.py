"""The scripted worker, but it kills itself once a result's files are stored."""

import os
import signal

from tests.worker.scripted_worker import app as app
from worker import registering

_store = registering._store


def store_and_die(*args):
    _store(*args)
    os.kill(os.getpid(), signal.SIGKILL)


registering._store = store_and_die
