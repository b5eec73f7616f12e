"""A thread between a process's counts of what keys spend and those of the others."""

import threading

import structlog

from app.keys.ledgers import AwayError, Ledger
from app.keys.rates import ASK_SECONDS, Rates

PAUSE_SECONDS = 0.1
"""Between two times that the others are told. They may let in what is used up for so long, and for
`ASK_SECONDS` more where they were not asked for anything themselves."""
AWAY_SECONDS = 2.0
"""Between two tries where the ledger does not answer."""
STOP_SECONDS = 1.0
"""How long a ledger that does not answer holds up the end of the process."""

log = structlog.get_logger(__name__)


class Exchange:
    """Tells the other processes of the API what is spent here, and learns what is there.

    It rests while no key with a limit is in use. Where the ledger does not answer, each process
    counts for itself until it does.

    Args:
        rates: this process's counts.
        ledger: where all of them meet.
    """

    def __init__(self, rates: Rates, ledger: Ledger) -> None:
        self._rates = rates
        self._ledger = ledger
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key-rates", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._rates.spent.set()  # it may wait for that
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        in_use = away = False
        while not self._over.is_set():
            self._rates.spent.wait(ASK_SECONDS if in_use else None)
            try:
                in_use = self._rates.exchange(self._ledger)
            except Exception as error:
                # The thread outlives any bad exchange; of many in a row the first is told.
                if not away:
                    unknown = not isinstance(error, AwayError)
                    log.warning("key_rates_not_shared", error=str(error), exc_info=unknown)
                in_use = away = True
            else:
                if away:
                    log.info("key_rates_shared_again")
                away = False
            self._over.wait(AWAY_SECONDS if away else PAUSE_SECONDS)
        self._ledger.close()
