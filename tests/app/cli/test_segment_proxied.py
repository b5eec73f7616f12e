"""`sats segment` through what stands before a service and touches its answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from app.main import create_app
from app.settings import Settings
from tests.app.cli.conftest import printed
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.fixtures.processes import serving

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

Run = Callable[..., Result]


def proxied(app: Any, retyped: Callable[[int, bytes], bytes]) -> Any:
    """Return an app whose nth answer of `/segment`, from 0, says another content type."""
    count = iter(range(1000))

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        async def touched(message: Any) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/segment":
                number = next(count)
                message["headers"] = [
                    (name, retyped(number, value) if name == b"content-type" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await app(scope, receive, touched)

    return proxy


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_bytes(encoded(left_red_right_green()))
    return folder


@pytest.mark.parametrize("form", ["mask", "overlay", "json"])
def test_a_character_set_is_no_other_type(
    run: Run, settings: Settings, register: Register, pictures: Path, tmp_path: Path, form: str
) -> None:
    register()
    app = proxied(create_app(settings), lambda _, value: value + b"; charset=utf-8")
    with serving(app) as url:
        done = run(
            "segment", str(pictures), "-o", str(tmp_path / "out"), "--url", url, "--format", form
        )
    assert (done.exit_code, printed(done).splitlines()[-1]) == (0, "3 written"), done.stderr


def test_an_answer_that_is_none_fails_its_picture_alone(
    run: Run, settings: Settings, register: Register, pictures: Path, tmp_path: Path
) -> None:
    register()
    app = proxied(
        create_app(settings), lambda number, value: value if number else b"image/png; profile=other"
    )
    with serving(app) as url:
        done = run("segment", str(pictures), "-o", str(tmp_path / "out"), "--url", url)
    assert (done.exit_code, printed(done).splitlines()[-1]) == (1, "2 written, 1 failed"), (
        done.stderr
    )
    assert "is it a SATS service?" in done.stderr
