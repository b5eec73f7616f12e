import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from app.cli import cli
from app.db import make_engine
from app.db.migrate import is_current
from app.processes.children import own
from app.settings import get_settings
from demo.ports import held_port
from tests.fixtures.processes import environment, strange_packages

START_SECONDS = 60
LONG_REST_SECONDS = 6
"""More than the five after which uvicorn closes a connection unless it is told otherwise."""


def test_migrate_makes_the_tables(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    monkeypatch.setenv("SATS_DATABASE_URL", url)
    monkeypatch.setenv("SATS_DATA_DIR", str(tmp_path / "data"))
    get_settings.cache_clear()
    assert CliRunner().invoke(cli, ["migrate"]).exit_code == 0
    told = CliRunner().invoke(cli, ["migrate", "--json"]).stdout
    assert json.loads(told)["revision"].isdecimal()
    get_settings.cache_clear()
    engine = make_engine(url)
    assert is_current(engine)
    engine.dispose()


def test_a_worker_is_told_what_to_train_on(run, monkeypatch):
    monkeypatch.setenv("SATS_WORKER_DEVICE", "auto")  # the command sets it
    started = []
    monkeypatch.setattr(os, "execv", lambda *_: started.append(os.environ["SATS_WORKER_DEVICE"]))
    assert run("worker").exit_code == 0
    assert run("worker", "--device", "cuda:1").exit_code == 0
    refused = run("worker", "--device", "tpu")
    assert (refused.exit_code, started) == (2, ["auto", "cuda:1"])
    assert "SATS_WORKER_DEVICE" in refused.stderr


@pytest.mark.parametrize(
    "words", [("serve",), ("api",), ("worker",), ("migrate",), ("keys", "list")], ids=" ".join
)
def test_where_the_data_can_have_no_folder_that_is_said(run, tmp_path, monkeypatch, words):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv("SATS_DATA_DIR", str(in_the_way / "data"))
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("it was started"))
    get_settings.cache_clear()
    answer = run(*words)
    assert answer.exit_code == 2
    assert answer.stderr.startswith("sats: SATS_DATA_DIR: [Errno 20] Not a directory")


@pytest.mark.parametrize("words", [("serve",), ("api",), ("migrate",), ("keys", "list")])
@pytest.mark.parametrize(
    "url", ["sqlite:////proc/self/sats.db", "postgresql+psycopg://me:secret@127.0.0.1:1/sats"]
)
def test_a_database_that_is_away_is_one_line(run, monkeypatch, words, url):
    monkeypatch.setenv("SATS_DATABASE_URL", url)
    get_settings.cache_clear()
    answer = run(*words)
    assert answer.exit_code == 1
    assert "sats: the database does not answer: " in answer.stderr
    assert "secret" not in answer.output


@pytest.mark.parametrize("command", ["serve", "api"])
def test_a_port_that_there_cannot_be_is_refused(run, command):
    """The sockets took 99,999 for 34,463."""
    answer = run(command, "--port", "99999")
    assert answer.exit_code == 2
    assert "65535" in answer.stderr


@pytest.mark.parametrize("command", ["serve", "api"])
def test_without_keys_no_other_machine_is_listened_to(run, command):
    answer = run(command, "--host", "0.0.0.0")
    assert answer.exit_code == 2
    assert "sats keys create" in answer.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_where_no_process_could_start_none_is_started(run, settings, monkeypatch, workers):
    """uvicorn would start each of several again and again."""
    monkeypatch.setenv("SATS_API_WORKERS", workers)  # the command sets it
    settings.data_dir.mkdir(exist_ok=True)
    in_the_way = settings.data_dir / "tmp"
    in_the_way.touch()
    answer = run("api", "--workers", workers)
    assert answer.exit_code == 2
    assert str(in_the_way) in answer.stderr
    in_the_way.unlink()
    monkeypatch.setenv("SATS_SERVE_RUNTIME", "openvino")
    monkeypatch.delitem(sys.modules, "app.inference.openvino_sessions", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)  # as where it is not installed
    answer = run("api", "--workers", workers)
    assert answer.exit_code == 2
    assert "pip install -e '.[openvino]'" in answer.stderr


@contextmanager
def _serving(settings, log, *options, command="serve", cwd=None):
    with held_port() as port:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*own("app.cli"), command, "--port", str(port), *options],
                cwd=cwd,
                env=os.environ | environment(settings),
                stdout=out,
                stderr=out,
            )
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            children = _children(process)
            process.kill()
            process.wait()
            _, alive = psutil.wait_procs(children, timeout=20)
            for child in alive:
                child.kill()
            assert not alive, "children must not outlive `sats serve`, even killed with -9"


def _children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _until(check, log, every=0.1):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(every)
    raise AssertionError(log.read_text())


def _ready(url):
    def check():
        try:
            return httpx.get(f"{url}/health/ready").is_success
        except httpx.TransportError:
            return False

    return check


def _child(log, name):
    """The process of that name that `sats serve` started last, by what it says of it."""
    said = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    pids = [one["pid"] for one in said if (one.get("event"), one.get("child")) == ("started", name)]
    try:
        return psutil.Process(pids[-1]) if pids else None
    except psutil.NoSuchProcess:
        return None


def _connected(url):
    """Return a connection that was used once and is kept."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=START_SECONDS)
    assert _live(connection)
    connection.auto_open = 0  # a closed one is not opened anew in silence
    return connection


def _live(connection):
    connection.request("GET", "/health/live")
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200


def test_serve_runs_restarts_its_worker_and_stops_cleanly(settings, tmp_path):
    """Wherever it is run: a folder called like one of our packages is somebody else's."""
    log = tmp_path / "log"
    elsewhere = strange_packages(tmp_path / "elsewhere")
    with ExitStack() as stack:
        process, url = stack.enter_context(_serving(settings, log, cwd=elsewhere))
        _until(_ready(url), log)
        said = log.read_text()
        assert f"SATS answers at {url}, its documentation is at /docs" in said
        assert "no API key was made yet" in said
        kept, rests_since = stack.enter_context(closing(_connected(url))), time.monotonic()
        first = _until(lambda: _child(log, "worker"), log)
        _until(lambda: "ready." in log.read_text(), log)
        first.kill()
        second = _until(lambda: (w := _child(log, "worker")) and w.pid != first.pid and w, log)
        _until(lambda: log.read_text().count("ready.") >= 2, log)
        assert httpx.get(f"{url}/health/ready").json()["worker_restarts"] == 1
        assert "sats_worker_restarts_total 1.0" in httpx.get(f"{url}/metrics").text
        time.sleep(max(0.0, rests_since + LONG_REST_SECONDS - time.monotonic()))
        assert _live(kept), "a connection that rested was closed"
        api = _child(log, "api")
        api.kill()
        _until(lambda: (a := _child(log, "api")) and a.pid != api.pid, log)
        _until(_ready(url), log)
        assert httpx.get(f"{url}/health/ready").json()["api_restarts"] == 1
        assert "sats_api_restarts_total 1.0" in httpx.get(f"{url}/metrics").text
        assert second.is_running()
        assert httpx.get(f"{url}/tasks").json() == {"items": [], "next_cursor": None}
        children = _children(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, log.read_text()
        assert not [child for child in children if child.is_running()]
        assert not second.is_running()
    assert "Traceback" not in log.read_text()


def test_killed_with_9_serve_takes_its_children_along(settings, tmp_path):
    log = tmp_path / "log"
    with _serving(settings, log) as (_, url):
        _until(_ready(url), log)
        _until(lambda: _child(log, "worker"), log)


def _processes_that_answer(process):
    """The supervisor's own children; Python's tracker of shared memory is one, and answers none."""
    return [one for one in _children(process) if "resource_tracker" not in str(one.cmdline())]


def test_several_processes_answer_at_one_port_and_end_together(settings, tmp_path):
    """Killed with -9, the one that started them leaves none behind."""
    CliRunner().invoke(cli, ["migrate"], env=environment(settings))
    log = tmp_path / "log"
    with _serving(settings, log, "--workers", "2", command="api") as (process, url):
        _until(_ready(url), log)
        assert len(_until(lambda: _processes_that_answer(process), log)) == 2
        _until(lambda: log.read_text().count("Application startup complete") == 2, log)
        pids = {str(one.pid) for one in _processes_that_answer(process)}
        answered = 0

        def figures() -> dict[str, float]:
            return _answered(httpx.get(f"{url}/metrics").text, "/classes")

        while {*figures()} != pids:  # which process a connection ends at is chance
            assert httpx.get(f"{url}/classes").status_code == 404  # no version, and an answer
            answered += 1
        _until(lambda: sum(figures().values()) == answered, log)
    assert "Traceback" not in log.read_text()


def _answered(metrics: str, path: str) -> dict[str, float]:
    """How many requests for a path each process has answered."""
    return {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "sats_http_requests_total" and sample.labels["path"] == path
    }


def test_a_process_of_several_that_dies_is_started_again_and_one_that_hangs_is_waited_for(
    settings, tmp_path
):
    CliRunner().invoke(cli, ["migrate"], env=environment(settings))
    log = tmp_path / "log"
    with _serving(settings, log, "--workers", "2", command="api") as (process, _):
        _until(lambda: log.read_text().count("Application startup complete") == 2, log)
        dying, hanging = _processes_that_answer(process)
        hanging.suspend()
        dying.kill()
        _until(lambda: log.read_text().count("Application startup complete") == 3, log)
        now = {one.pid for one in _processes_that_answer(process)}
        assert hanging.pid in now
        assert dying.pid not in now
        hanging.resume()


def test_workers_of_the_command_line_stand_before_those_of_the_environment(settings, tmp_path):
    CliRunner().invoke(cli, ["migrate"], env=environment(settings))
    log = tmp_path / "log"
    four = settings.model_copy(update={"api_workers": 4})
    with _serving(four, log, "--workers", "1", command="api") as (_, url):
        _until(_ready(url), log)
        assert 'process="' not in httpx.get(f"{url}/metrics").text


@pytest.mark.parametrize("command", ["serve", "api"])
def test_an_api_that_cannot_start_ends_what_started_it(settings, tmp_path, command):
    log = tmp_path / "log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with _serving(settings, log, "--port", port, command=command) as (process, _):
            assert process.wait(60) == 1
    assert "address already in use" in log.read_text()
