"""`python -P -m worker`: a Celery worker; options are those of `celery worker`.

Celery's own command looks for its app in the working directory before anywhere else. Here the app,
and our packages with it, is there before Celery looks.
"""

import sys

from celery.bin.celery import celery

import worker.celery_app  # noqa: F401 - see above

celery(
    args=["--quiet", "--app", "worker.celery_app", "worker", *sys.argv[1:]],
    prog_name="celery",
    auto_envvar_prefix="CELERY",
)
