"""What a process of the API holds as long as it lives."""

from dataclasses import dataclass

from sqlalchemy import Engine

from app.broker import Sender, make_folders
from app.db import make_engine
from app.deletion.copies import LOOK_SECONDS, Copies
from app.inference.engine import Inference
from app.inference.warm_up import WarmUp
from app.keys.cache import CallerCache
from app.keys.exchange import Exchange
from app.keys.last_use import LastUses
from app.keys.ledgers import open_ledger
from app.keys.rates import Rates
from app.keys.secret import read_secret
from app.keys.underway import Underway
from app.processes.repeating import Repeating
from app.registry.live import STOP_SECONDS, LiveVersions
from app.settings import Settings
from app.storage import BlobStore, open_store
from app.tasks.streams import Streams
from app.uploads.remote import check_places
from app.uploads.state import UploadState


@dataclass(frozen=True)
class Services:
    """Everything long-lived that a process of the API holds."""

    settings: Settings
    engine: Engine
    blobs: BlobStore
    secret: bytes
    """Secret under the digests of API keys."""
    callers: CallerCache
    live: LiveVersions
    inference: Inference
    warm_up: WarmUp
    rates: Rates
    exchange: Exchange
    """Shares what `rates` counts with the other processes."""
    underway: Underway
    last_uses: LastUses
    streams: Streams
    uploads: UploadState
    sender: Sender
    copies: Repeating
    """Drops this host's copies of what was deleted."""

    def close(self) -> None:
        """Give threads and connections back."""
        self.uploads.close()
        self.live.close()
        self.copies.stop(STOP_SECONDS)
        self.inference.close()
        self.sender.close()
        self.exchange.close()
        self.last_uses.close()
        self.engine.dispose()


def open_services(settings: Settings) -> Services:
    """Open database, blob store and broker; makes data_dir where it is missing.

    Raises:
        ValueError: a bucket that a setting names cannot be opened; says which.
        LostSecretError: the secret under the keys that there are is not there.
    """
    check_places(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    make_folders(settings)
    engine = make_engine(settings.resolved_database_url, settings.database_limits)
    try:
        services = _on(engine, settings)
    except BaseException:
        engine.dispose()  # it was asked what lies in the store
        raise
    services.live.start()
    services.copies.start()
    services.exchange.start()
    return services


def _on(engine: Engine, settings: Settings) -> Services:
    """Return the services on a database; none of their threads is started."""
    blobs = open_store(settings, engine)
    inference = Inference(settings, blobs)
    live = LiveVersions(engine, settings.live_poll_seconds)
    secret, rates = read_secret(settings, engine), Rates()
    return Services(
        settings=settings,
        engine=engine,
        blobs=blobs,
        secret=secret,
        callers=CallerCache(settings.key_cache_seconds, settings.key_outage_seconds),
        live=live,
        inference=inference,
        warm_up=WarmUp(live, inference.graphs, settings.serve_warm_up_seconds),
        rates=rates,
        exchange=Exchange(rates, open_ledger(settings, secret)),
        underway=Underway(),
        last_uses=LastUses(engine),
        streams=Streams(engine, settings.serve_streams),
        uploads=UploadState(),
        sender=Sender(settings),
        copies=Repeating("copies", Copies.of(engine, blobs, settings).drop_deleted, LOOK_SECONDS),
    )
