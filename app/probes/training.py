"""What Prometheus reads of training: the queue, what runs, how it ended, what is live.

Every process of the API tells the same, as the database says it. However many tasks there are, a
scrape asks eight statements, each by an index or of few rows, and tells of the newest ends alone.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import inf

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import (
    RUNNING_STATES,
    Model,
    Task,
    TaskState,
    Version,
    database_now,
    is_passing,
    read_session,
)
from app.db.base import database_time
from app.registry.service import live_versions
from app.tasks.phases import phases
from app.workers.unmet import count_unmet, count_workers

ENDS = 20
"""So many of the tasks that ended last are told."""

PHASES = (TaskState.QUEUED, *RUNNING_STATES)

log = structlog.get_logger(__name__)


class TrainingCollector(Collector):
    """Tasks and live versions, asked for at each scrape.

    Args:
        engine: the database; while it does not answer, that alone is told.
        lease_seconds: for which a worker renews its lease at a time.
    """

    def __init__(self, engine: Engine, lease_seconds: float) -> None:
        self.engine = engine
        self.lease_seconds = lease_seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        up = GaugeMetricFamily("sats_database_up", "Whether the database answered this scrape.")
        try:
            with read_session(self.engine) as session:
                told = [
                    *_by_state(session),
                    *_workers(session),
                    *_running(session, self.lease_seconds),
                    *_ended(session),
                    _live(session),
                ]
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.warning("tasks_not_counted", error=type(error).__name__)
            told = []
        up.add_metric([], 1 if told else 0)
        yield from (up, *told)


def _by_state(session: Session) -> Iterator[Metric]:
    """Tell how many tasks there are, and since when the oldest one waits."""
    counted = session.execute(
        select(Task.state, func.count().label("tasks")).group_by(Task.state)
    ).all()
    by_state = {row.state: row.tasks for row in counted}
    tasks = GaugeMetricFamily("sats_tasks", "Tasks by state.", labels=["state"])
    for state in TaskState:
        tasks.add_metric([state], by_state.get(state, 0))
    yield tasks
    oldest = session.execute(
        select(Task.created_at, database_time().label("now"))
        .where(Task.state == TaskState.QUEUED)
        .order_by(Task.sequence)
        .limit(1)
    ).one_or_none()
    yield GaugeMetricFamily(
        "sats_task_oldest_queued_seconds",
        "Time since the first of the tasks that wait was posted; 0 where none waits.",
        value=0.0 if oldest is None else _seconds(oldest.created_at, oldest.now),
    )


def _workers(session: Session) -> Sequence[Metric]:
    """Tell who is there, and how many tasks wait for somebody who is not."""
    there = GaugeMetricFamily(
        "sats_workers", "Workers that are alive, by what they train on.", labels=["device"]
    )
    for device, workers in count_workers(session).items():
        there.add_metric([device], workers)
    unmet = GaugeMetricFamily(
        "sats_tasks_unmet",
        "Tasks that wait and that no living worker may take, by the device they ask for.",
        labels=["device"],
    )
    for device, tasks in count_unmet(session).items():
        unmet.add_metric([device], tasks)
    return there, unmet


def _running(session: Session, lease_seconds: float) -> Sequence[Metric]:
    """Tell of the tasks that run, one a model at most."""
    rows = session.execute(
        select(
            Model.name,
            Task.state,
            Task.started_at,
            Task.tries,
            Task.progress,
            database_time().label("now"),
            (database_now() - Task.lease_until).label("lapsed"),
        )
        .join(Model, Model.id == Task.model_id)
        .where(Task.state.in_(RUNNING_STATES))
    ).all()
    running = _family("running_seconds", "Time since it was first started.", "model", "state")
    lease = _family("lease_age_seconds", "Time since its worker renewed its lease.", "model")
    tries = _family("tries", "Its starts since it last finished an epoch.", "model")
    epoch = _family("epoch", "Epochs that it has finished.", "model")
    epochs = _family("epochs", "Epochs that it has in all.", "model")
    for row in rows:
        if row.started_at is not None:
            running.add_metric([row.name, row.state], _seconds(row.started_at, row.now))
        # Without a lease nobody holds it, and no sweep takes it: `sats doctor` does.
        lapsed = inf if row.lapsed is None else row.lapsed
        lease.add_metric([row.name], max(0.0, lease_seconds + lapsed))
        tries.add_metric([row.name], row.tries)
        if row.progress and row.state == TaskState.TRAINING:
            epoch.add_metric([row.name], row.progress["epoch"])
            epochs.add_metric([row.name], row.progress["epochs"])
    return running, lease, tries, epoch, epochs


def _ended(session: Session) -> Sequence[Metric]:
    """Tell of the tasks that ended last: when, how, and how long each phase of a model's took."""
    rows = session.execute(
        select(Task.id, Task.state, Task.finished_at, Model.name)
        .join(Model, Model.id == Task.model_id)
        .where(Task.finished_at.is_not(None))
        .order_by(Task.finished_at.desc())
        .limit(ENDS)
    ).all()
    last: dict[str, str] = {}
    at: dict[tuple[str, str], datetime] = {}
    for row in rows:  # the newest first
        last.setdefault(row.name, row.id)
        at.setdefault((row.name, row.state), row.finished_at)
    ended = GaugeMetricFamily(
        "sats_task_ended_timestamp_seconds",
        f"When a task of the model last ended so, among the {ENDS} that ended last.",
        labels=["model", "state"],
    )
    for labels, when in at.items():
        ended.add_metric(labels, when.timestamp())
    took = GaugeMetricFamily(
        "sats_task_phase_seconds",
        "Time that the model's last ended task spent in each phase, over all its tries.",
        labels=["model", "phase"],
    )
    known = phases(session, last.values())
    for model, task_id in last.items():
        if task_id in known:
            seconds = dict.fromkeys(map(str, PHASES), 0.0)
            for phase in known[task_id]:
                if phase.name in seconds:
                    seconds[phase.name] += (phase.ended - phase.began).total_seconds()
            for name, value in seconds.items():
                took.add_metric([model, name], value)
    return ended, took


def _live(session: Session) -> Metric:
    live = GaugeMetricFamily("sats_live_version", "Number of the live version.", labels=["model"])
    for name, number in session.execute(live_versions(Version.number)):
        live.add_metric([name], number)
    return live


def _family(name: str, told: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sats_task_{name}", f"Of a task that runs: {told}", labels=labels)


def _seconds(began: datetime, now: datetime) -> float:
    return max(0.0, (now - began).total_seconds())
