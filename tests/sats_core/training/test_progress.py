"""What a phase says of how far it is."""

from sats_core.events import Event, ProgressEvent
from sats_core.training.progress import Progress


def test_the_end_of_a_phase_is_said_however_short_it_was() -> None:
    said: list[Event] = []
    progress = Progress(said.append, ProgressEvent(phase="evaluating", step=0, steps=3), 3)
    for picture in (1, 2, 3):
        progress.advance(1, step=picture)
    steps = [event.step for event in said if isinstance(event, ProgressEvent)]
    assert steps == [0, 3], "its beginning and its end; what lies between came too fast"
