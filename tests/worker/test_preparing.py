"""What a step starts from must be there, whole, or the step fails."""

import errno

import pytest
from sqlalchemy import select

from app.db import ApiKey, DeviceKind, TaskState, write_session
from app.keys.service import Scope, create_key
from app.workers.needs import Resources
from tests.worker.bench import PROCESSOR
from worker import laying_out, preparing
from worker.claim import claim
from worker.device import Device
from worker.folder import WorkFolder


def blob_of(bench, name):
    return bench.blobs.path(bench.versions()[0].files[name]["blob"])


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", [damage, lambda path: path.unlink()])
@pytest.mark.parametrize("what", ["model.safetensors", "held out"])
def test_a_damaged_old_version_fails_closed(bench, how, what):
    bench.run(["cat"])
    how(bench.blobs.path(bench.held_out()[0].blob) if what == "held out" else blob_of(bench, what))
    task = bench.run(["dog"], seed=1)
    assert task.state == TaskState.FAILED
    assert task.error["type"] == "urn:sats:problem:damaged-version"
    assert ("held-out" if what == "held out" else what) in task.error["detail"]
    assert len(bench.control.starts()) == 1, "nothing was trained"
    assert bench.live() == 1
    bench.assert_clean(task.id)


def test_the_old_version_is_laid_out_whole(bench):
    bench.run(["cat"])
    bench.control.plan(crash_epoch=0, crash_starts=9)
    task_id = bench.post(["dog"], seed=1)
    bench.supervisor().run(task_id)
    old = bench.control.starts()[1].job.old_version
    assert {path.name for path in old.iterdir()} == {"config.json", "model.safetensors"}
    for path in old.iterdir():
        assert path.read_bytes() == blob_of(bench, path.name).read_bytes()


def test_a_step_may_use_the_devices_of_its_worker(bench):
    bench.run(["cat"])
    assert bench.control.starts()[-1].job.devices == 1
    bench.supervisor(train_devices=3).run(bench.post(["dog"], seed=1))
    assert bench.control.starts()[-1].job.devices == 3


@pytest.mark.parametrize(("there", "used"), [(1, 1), (2, 2), (8, 4)])
def test_a_step_is_told_of_no_gpu_that_its_worker_does_not_have(bench, there, used):
    gpus = Device("NVIDIA X", there, Resources(DeviceKind.CUDA, 24_000))
    bench.supervisor(device=gpus, train_devices=4).run(bench.post(["cat"]))
    assert bench.control.starts()[-1].job.devices == used


def test_memory_that_runs_out_halves_what_the_gpu_that_is_there_computed_at_once(bench):
    """Divided by the setting a GPU would have one picture, and nothing were left to halve."""
    bench.control.plan(needs_halvings=1)
    gpu = Device("NVIDIA X", 1, Resources(DeviceKind.CUDA, 24_000))
    task_id = bench.post(["cat"], batch_size=8)
    for _ in range(2):
        bench.supervisor(device=gpu, train_devices=8).run(task_id)
    assert [start.job.at_once for start in bench.control.starts()] == [8, 4]
    (warning,) = bench.task(task_id).warnings
    assert "4 instead of 8 pictures" in warning


def test_no_connection_is_held_while_files_are_read_and_copied(bench, monkeypatch):
    bench.run(["cat"])
    task_id = bench.post(["dog"], seed=1, memory=True)
    with write_session(bench.engine) as session:
        claim(session, task_id, "worker-1", 60)
    connections = {}

    def watch(module, name):
        slow = getattr(module, name)

        def run(*args):
            connections[name] = bench.engine.pool.checkedout()
            return slow(*args)

        monkeypatch.setattr(module, name, run)

    watch(preparing, "task_classes")
    for name in ("version_file", "verified"):
        watch(laying_out, name)
    folder = WorkFolder(bench.settings.work_dir, task_id)
    with folder.locked("worker-1", 1, lambda: False):
        preparing.prepare(bench.engine, bench.blobs, bench.settings, task_id, folder, PROCESSOR)
    assert connections == {"task_classes": 0, "version_file": 0, "verified": 0}


def test_the_old_version_takes_no_room_however_often_it_is_laid_out(bench):
    bench.run(["cat"])
    bench.control.plan(crash_epoch=0, crash_starts=9)
    task_id = bench.post(["dog"], seed=1)
    for _ in range(2):
        bench.supervisor().run(task_id)
    folder = bench.settings.work_dir / task_id
    for path in (folder / "old").iterdir():
        assert path.samefile(blob_of(bench, path.name))
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_where_there_are_no_links_the_old_version_is_copied(bench, monkeypatch):
    bench.run(["cat"])

    def refuse(*_args):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr("worker.laying_out.os.link", refuse)
    assert bench.run(["dog"], seed=1).state == TaskState.LIVE


def test_a_data_set_that_is_gone_fails_the_task(bench):
    task_id = bench.post(["cat"])
    bench.blobs.delete(bench.task(task_id).dataset)
    bench.supervisor().run(task_id)
    task = bench.task(task_id)
    assert task.state == TaskState.FAILED
    assert "post it again" in task.error["detail"]


def test_the_job_carries_the_task_s_settings(bench):
    task = bench.run(
        ["cat"], epochs=7, method="finetune", size=64, held_out={"share": 0.5, "split": "val"}
    )
    job = bench.control.starts()[0].job
    assert (job.settings.epochs, job.settings.method, job.settings.size) == (7, "finetune", 64)
    assert (job.held_out.share, job.held_out.split) == (0.5, "val")
    assert job.limits == bench.settings.limits
    assert (job.old_version, job.threads) == (None, 1)
    assert task.state == TaskState.LIVE


@pytest.mark.parametrize(
    ("poster", "by_admin", "expected"),
    [(0, False, [True, False]), (1, False, [False, True]), (1, True, [True, True])],
)
def test_only_an_admin_is_told_of_copies_of_what_others_hold_out(bench, poster, by_admin, expected):
    with write_session(bench.engine) as session:
        for name in ("one", "other"):
            create_key(session, b"secret", name, [Scope.SUBMIT])
        keys = session.scalars(select(ApiKey.id).order_by(ApiKey.id)).all()
    bench.run(["cat"], key_id=keys[0])
    bench.run(["dog"], seed=1, by_admin=False, key_id=keys[1])
    bench.run(["bird"], seed=2, by_admin=by_admin, key_id=keys[poster])
    assert [one.compared for one in bench.control.starts()[-1].job.earlier] == expected
