"""The training process's guards: it dies with its parent, and its stdout is its own."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sats_core.job import ImportJob, Limits
from tests.fixtures.processes import strange_packages
from tests.worker.bench import ROOT, eventually, is_gone
from worker.log_tail import LogTail
from worker.process import CHILD as REAL_CHILD
from worker.process import TrainingProcess, how_it_ended, oom_kills

PARENT = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", {child!r}], stdin=subprocess.PIPE, process_group=0
)
print(child.pid, flush=True)
time.sleep(60)
"""

CHILD = """
import sys, time
from worker import child
{before}
child.die_with_parent()
print("guarded", flush=True)
while True: time.sleep(0.1)
"""


@pytest.mark.parametrize(
    "before",
    ["child.exit_at_end_of_stdin = lambda: None", "child.sys.platform = 'another'"],
    ids=["told by the kernel", "told by the end of stdin"],
)
def test_a_child_dies_with_its_parent(before):
    script = PARENT.format(child=CHILD.format(before=before))
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == b"guarded\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: is_gone(pid))


def started(tmp_path, script):
    file = tmp_path / "child.py"
    file.write_text(textwrap.dedent(script))
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        return TrainingProcess([sys.executable, str(file)], tmp_path / "job.json", handle)
    finally:
        os.close(handle)


def test_no_process_is_left_behind_whatever_happens(tmp_path):
    process = started(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ZeroDivisionError), process:
        raise ZeroDivisionError
    assert is_gone(process.pid)


def test_events_come_in_order_until_the_end(tmp_path):
    script = """
        for number in range(1000):
            print('{"event": "warning", "message": "%d"}' % number)
        raise SystemExit(3)
    """
    heard = []
    with started(tmp_path, script) as process:
        while not process.ended:
            event = process.next_event(5)
            if event is not None:
                heard.append(event.message)
        assert process.next_event(5) is None
        assert process.wait() == 3
    assert heard == [str(number) for number in range(1000)]


def test_the_real_child_s_stdout_carries_events_only():
    script = (
        "import os, sys; from worker import child\n"
        "events = child.claim_stdout()\n"
        "print('chatter'); os.write(1, b'native chatter\\n'); os.write(events, b'event\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "event\n"
    assert "chatter" in done.stderr


@pytest.mark.parametrize(
    ("status", "said"), [(1, "status 1"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-99, "signal 99")]
)
def test_how_a_process_ended_in_words(status, said):
    assert said in how_it_ended(status)


def test_the_real_child_runs_an_import(tmp_path, monkeypatch):
    """Wherever its worker was started: folders called like our packages are somebody else's."""
    monkeypatch.chdir(strange_packages(tmp_path / "elsewhere"))
    job = ImportJob(
        source=tmp_path / "none.zip",
        source_name="none.zip",
        classes=("cat",),
        indices=(1,),
        limits=Limits(),
        threads=1,
        work=tmp_path / "work",
        result=tmp_path / "result",
    )
    job.source.write_bytes(b"no zip")
    (tmp_path / "job.json").write_text(job.model_dump_json())
    handle = os.open(tmp_path, os.O_RDONLY)
    with TrainingProcess(REAL_CHILD, tmp_path / "job.json", handle) as process:
        heard = []
        while not process.ended:
            heard.append(process.next_event(60))
        assert process.wait() == 0
    os.close(handle)
    phase, failed = (event for event in heard if event is not None)  # on a busy machine it is late
    assert phase.phase == "validating"
    assert failed.message == "the checkpoint is not a zip file, or a damaged one"


def test_stderr_is_the_log_and_its_end_is_kept(tmp_path, capfd):
    script = """
        import sys
        for number in range(20000):
            print(f"line {number}", file=sys.stderr)
        sys.stderr.buffer.write(b"\\0\\xff the end")
    """
    (tmp_path / "child.py").write_text(textwrap.dedent(script))
    log = LogTail("before\n")
    command = [sys.executable, str(tmp_path / "child.py")]
    with (
        (tmp_path / "lock").open("w") as lock_file,
        TrainingProcess(command, tmp_path / "job", lock_file.fileno(), log) as process,
    ):
        assert process.wait() == 0
    text = log.take()
    assert log.take() is None, "nothing new"
    first, *_, last = text.splitlines()
    assert re.fullmatch(r"line \d+", first), "from a line's beginning on"
    assert last == "\ufffd\ufffd the end"
    assert 60_000 < len(text.encode()) <= 64 * 1024 + 16
    assert "line 0\n" in capfd.readouterr().err, "the worker's own log has all of it"


def test_the_log_of_a_try_stands_behind_that_of_the_try_before():
    log = LogTail("before\n")
    log.add(b"after\n")
    assert log.take() == "before\nafter\n"


def test_the_kernel_s_kills_are_told_from_others(tmp_path, monkeypatch):
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 7\nother 9\n")
    monkeypatch.setattr("worker.process.VMSTAT", vmstat)
    with started(tmp_path, "import time; time.sleep(60)") as process:
        status = process.kill()
        assert not process.ran_out_of_memory(status)
        vmstat.write_text("oom_kill 8\n")
        assert process.ran_out_of_memory(status)
        assert not process.ran_out_of_memory(1)
    monkeypatch.setattr("worker.process.VMSTAT", tmp_path / "none")
    assert oom_kills() == 0


@pytest.mark.parametrize(("mine", "theirs"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str | None, theirs: str
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if mine:
        monkeypatch.setenv("OMP_WAIT_POLICY", mine)
    said = tmp_path / "said"
    tell = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OMP_WAIT_POLICY'])"
    command = [sys.executable, "-c", tell]
    with (
        (tmp_path / "lock").open("w") as lock_file,
        TrainingProcess(command, said, lock_file.fileno()) as ch,
    ):
        ch.wait()
    assert said.read_text() == theirs
