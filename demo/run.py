"""The demo from one end to the other: draw, learn over HTTP, report, hold it to its claims."""

import signal
import time
from pathlib import Path

from rich.console import Console

from demo.learning import learn_all
from demo.plan import Plan
from demo.report import report
from demo.service import DemoError

INTERRUPTED = 130


def run_demo(output: Path, plan: Plan | None = None, console: Console | None = None) -> int:
    """Run the demo into `output`; returns the process's exit code, 1 where a claim is broken."""
    plan, console = plan or Plan(), console or Console()
    started = time.monotonic()
    # Being ended is treated like Ctrl-C, so that the service is not left behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        broken = report(learn_all(plan, output, console), plan, output, console)
    except KeyboardInterrupt:
        console.print("Stopped; the demo's service is down.")
        return INTERRUPTED
    except DemoError as error:
        console.print(f"The demo failed: {error}", markup=False)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f"Pictures of the result are in {output}/. Whole demo: {minutes}:{seconds:02}.")
    for sentence in broken:
        console.print(f"CLAIM BROKEN  {sentence}", markup=False, highlight=False)
    return 1 if broken else 0
