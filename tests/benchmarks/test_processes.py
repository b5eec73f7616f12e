import sys
from pathlib import Path

import pytest

from benchmarks.processes import started

TELL = "import os; print(sorted(n for n in os.environ if n.startswith(('SATS_', 'PYTHONDONT'))))"


def test_what_is_measured_inherits_no_setting_and_may_keep_its_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_LOG_LEVEL", "debug")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    log = tmp_path / "log"
    with started([sys.executable, "-c", TELL], {"SATS_DATA_DIR": "there"}, log) as process:
        assert process.wait(60) == 0
    assert log.read_text().strip() == "['SATS_DATA_DIR']"
