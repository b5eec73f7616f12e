"""How far a phase is, said often enough to watch and seldom enough to store."""

import time
from collections.abc import Callable, Mapping

from sats_core.events import Event, ProgressEvent

EVERY_SECONDS = 0.5

Emit = Callable[[Event], None]
Read = Callable[[], Mapping[str, object]]


class Progress:
    """Counts the pictures of one phase and says so, with rate and time left."""

    def __init__(self, emit: Emit, first: ProgressEvent, todo: int) -> None:
        """Begin a phase.

        Args:
            emit: where events go.
            first: the phase's first event; later ones are copies of it.
            todo: pictures in the whole phase from here, over all epochs.
        """
        self._emit = emit
        self._event = first
        self._todo = todo
        self._done = 0
        self._began = self._said = time.monotonic()

        self.say()

    def advance(self, pictures: int, read: Read = dict, **values: object) -> None:
        """Count pictures and say it, at most twice a second and at the end.

        Args:
            pictures: done since the last call.
            read: gives fields of `ProgressEvent` that are costly to read; asked only when it is
                said.
            values: fields that changed.
        """
        self._done += pictures
        self._event = self._event.model_copy(update=values)
        if self._done >= self._todo or time.monotonic() - self._said >= EVERY_SECONDS:
            self._event = self._event.model_copy(update=read())
            self.say()

    def end_epoch(self, epoch: int, **values: object) -> None:
        """Say that `epoch` epochs are finished, with the fields that changed."""
        self._event = self._event.model_copy(update={"epoch": epoch, **values})
        self.say(epoch_end=True)

    def say(self, epoch_end: bool = False) -> None:
        """Say now how far the phase is."""
        self._said = time.monotonic()
        rate = self._done / max(self._said - self._began, 1e-9)
        eta = (self._todo - self._done) / rate if rate else None
        self._emit(
            self._event.model_copy(
                update={"rate": rate, "eta_seconds": eta, "epoch_end": epoch_end}
            )
        )
