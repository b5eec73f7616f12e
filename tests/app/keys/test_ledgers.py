"""What keys have spent, where all processes see it: in a file and in a real Redis."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from app.keys.ledgers import (
    MOST_SECONDS,
    AwayError,
    FileLedger,
    Ledger,
    RedisLedger,
    open_ledger,
)
from app.settings import Settings
from tests.fixtures.servers import redis_in, redis_url_in

LITTLE = 1e-4
"""What a clock that counts from 1970 is true to, and more."""


class LedgerContract:
    """What holds of any ledger; `opened` opens the same one again, as another process does."""

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], Ledger]:
        raise NotImplementedError

    def test_what_one_process_spends_the_others_see(self, opened: Callable[[], Ledger]) -> None:
        here, there = opened(), opened()
        assert here.spend({"1:requests": 20.0})["1:requests"] == pytest.approx(20, abs=LITTLE)
        owed = there.spend({"1:requests": 5.0, "2:requests": 0.0})
        assert 15 < owed["1:requests"] <= 25 + LITTLE
        assert owed["2:requests"] == 0
        here.close()
        there.close()

    def test_it_goes_by_itself(self, opened: Callable[[], Ledger]) -> None:
        ledger = opened()
        began = time.monotonic()
        first = ledger.spend({"a": 60.0})["a"]
        time.sleep(0.2)
        second = ledger.spend({"a": 0.0})["a"]
        gone = time.monotonic() - began
        assert 0.1 < first - second <= gone + LITTLE
        ledger.close()

    def test_what_is_paid_back_is_forgotten(self, opened: Callable[[], Ledger]) -> None:
        ledger = opened()
        ledger.spend({"a": 0.05})
        time.sleep(0.1)
        assert ledger.spend({"a": 0.0, "b": 0.0}) == {"a": 0, "b": 0}
        assert ledger.spend({"a": 7.0})["a"] == pytest.approx(7, abs=LITTLE)
        ledger.close()

    def test_no_more_is_owed_than_can_be_paid_back(self, opened: Callable[[], Ledger]) -> None:
        ledger = opened()
        for _ in range(3):
            owed = ledger.spend({"a": 60.0})["a"]
        assert owed <= MOST_SECONDS
        assert owed == pytest.approx(MOST_SECONDS, abs=30)
        ledger.close()

    def test_of_processes_that_spend_at_once_nothing_is_lost(
        self, opened: Callable[[], Ledger]
    ) -> None:
        began = time.monotonic()

        def spend(_: int) -> None:
            ledger = opened()
            for _ in range(10):
                ledger.spend({"a": 1.0})
            ledger.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(spend, range(4)))
        ledger = opened()
        owed = ledger.spend({"a": 0.0})["a"]
        assert 40 - (time.monotonic() - began) - LITTLE <= owed <= 40 + LITTLE
        ledger.close()


class TestFile(LedgerContract):
    """In a file of the data folder."""

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], Ledger]:
        return lambda: FileLedger(tmp_path / "rates.db")

    def test_a_clock_that_was_set_back_keeps_nobody_out_for_long(self, tmp_path: Path) -> None:
        FileLedger(tmp_path / "rates.db", lambda: 1e6).spend({"a": 60.0})
        back = FileLedger(tmp_path / "rates.db", lambda: 5e5)
        assert back.spend({"a": 0.0})["a"] == MOST_SECONDS
        assert back.spend({"a": 0.0})["a"] == MOST_SECONDS

    def test_of_what_is_paid_back_no_row_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "rates.db"
        FileLedger(path, lambda: 100.0).spend({"a": 10.0, "b": 30.0})
        FileLedger(path, lambda: 120.0).spend({"c": 5.0, "d": 0.0})
        with sqlite3.connect(path) as file:
            assert sorted(file.execute("SELECT name, until FROM spent")) == [
                ("b", 130.0),
                ("c", 125.0),
            ]
        file.close()

    def test_what_is_owed_outlives_the_file_and_is_not_doubled(self, tmp_path: Path) -> None:
        path, now = tmp_path / "rates.db", [100.0]
        here, there, new = (FileLedger(path, lambda: now[0]) for _ in range(3))
        here.spend({"a": 20.0, "b": 10.0})
        there.spend({"a": 10.0})
        now[0] += 5
        path.unlink()
        assert new.spend({"a": 1.0}) == {"a": 1}
        assert here.spend({"a": 2.0}) == {"a": 17}, "it knew of 20"
        assert there.spend({"a": 0.0}) == {"a": 25}
        assert here.spend({"a": 0.0, "b": 0.0}) == {"a": 25, "b": 5}
        now[0] += 25
        path.unlink()
        assert there.spend({"a": 0.0, "b": 0.0}) == {"a": 0, "b": 0}

    def test_a_folder_that_is_gone_is_told_as_such(self, tmp_path: Path) -> None:
        with pytest.raises(AwayError, match=r"rates\.db"):
            FileLedger(tmp_path / "gone" / "rates.db").spend({"a": 1.0})

    def test_a_file_that_is_damaged_is_told_and_begun_anew(self, tmp_path: Path) -> None:
        ledger = FileLedger(tmp_path / "rates.db")
        for name in ("rates.db", "rates.db-journal"):
            (tmp_path / name).write_bytes(b"no database" * 100)
        with pytest.raises(AwayError, match="not a database"):
            ledger.spend({"a": 1.0})
        assert ledger.spend({"a": 2.0})["a"] == pytest.approx(2, abs=LITTLE)
        assert [one.name for one in tmp_path.iterdir()] == ["rates.db"]


@pytest.mark.served
class TestRedis(LedgerContract):
    """In the broker's Redis."""

    @pytest.fixture
    def opened(self, redis_url: str) -> Callable[[], Ledger]:
        service = uuid4().hex
        return lambda: RedisLedger(redis_url, service)

    @pytest.fixture
    def settings_of(self, redis_url: str, tmp_path: Path) -> Settings:
        return Settings(data_dir=tmp_path, redis_url=redis_url)

    def test_another_service_s_keys_are_others(self, settings_of: Settings) -> None:
        ours, theirs = (open_ledger(settings_of, uuid4().bytes) for _ in range(2))
        ours.spend({"1:requests": 20.0})
        assert theirs.spend({"1:requests": 0.0}) == {"1:requests": 0}
        ours.close()
        theirs.close()

    def test_one_that_was_opened_by_half_is_opened_anew(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def breaks(_: object) -> None:
            raise ArithmeticError  # nothing that Redis or the network raise

        ledger = RedisLedger(redis_url, uuid4().hex)
        with monkeypatch.context() as broken:
            broken.setattr("kombu.connection.Connection.channel", breaks)
            with pytest.raises(ArithmeticError):
                ledger.spend({"a": 1.0})
        assert ledger.spend({"a": 2.0})["a"] == pytest.approx(2, abs=LITTLE)
        ledger.close()

    def test_one_that_is_away_is_told_and_used_when_it_is_back(self, tmp_path: Path) -> None:
        ledger = RedisLedger(redis_url_in(tmp_path), "service")
        with pytest.raises(AwayError, match="Redis: ConnectionError"):
            ledger.spend({"a": 1.0})
        other = RedisLedger(redis_url_in(tmp_path), "service")
        with redis_in(tmp_path):
            assert ledger.spend({"a": 60.0})["a"] == pytest.approx(60, abs=LITTLE)
            other.spend({"a": 0.0})
        with pytest.raises(AwayError):
            ledger.spend({"a": 1.0})
        with redis_in(tmp_path):  # another one, empty: what was owed is told it, once
            assert 5 < ledger.spend({"a": 3.0})["a"] <= 63 + LITTLE
            assert 5 < other.spend({"a": 0.0})["a"] <= 63 + LITTLE
            ledger.close()
            other.close()


def test_where_no_redis_is_named_it_is_a_file(tmp_path: Path) -> None:
    ledger = open_ledger(Settings(data_dir=tmp_path), b"secret")
    assert isinstance(ledger, FileLedger)
    ledger.spend({"a": 1.0})
    assert (tmp_path / "rates.db").exists()
