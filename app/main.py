"""The HTTP service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.dependencies import open_services
from app.problems import install_handlers
from app.settings import Settings, get_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service; it touches disk and network when it starts, not before."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        held = open_services(settings or get_settings())
        app.state.services = held
        yield
        held.close()

    app = FastAPI(title="SATS", lifespan=lifespan)
    install_handlers(app)
    return app


app = create_app()
