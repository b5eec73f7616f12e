"""Where pictures are fetched from, and where the token goes."""

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from app.integrations.label_studio.addresses import MAX_LENGTH, Places, RefusedAddressError
from app.integrations.label_studio.client import LabelStudio, LabelStudioError
from app.settings import Settings
from tests.fixtures.label_studio import LEGACY, PERSONAL, FakeLabelStudio, label_studio

PICTURE = b"\x89PNG\r\n\x1a\n and so on"


def configured(fake: FakeLabelStudio, **values: Any) -> Settings:
    return Settings(**fake.settings() | values)


def fetched(settings: Settings, *addresses: str, task: int = 7, most: int = 1000) -> list[bytes]:
    """Return the pictures, fetched one after the other by one client."""

    async def fetch() -> list[bytes]:
        async with LabelStudio.opened(settings) as client:
            return [await client.picture(one, task, most) for one in addresses]

    return asyncio.run(fetch())


@pytest.mark.parametrize("prefix", ["", "/labels"])
def test_uploads_local_files_and_cloud_storage(prefix: str) -> None:
    with label_studio(prefix=prefix) as fake:
        fake.files |= {
            "/data/upload/1/a%20b.png": PICTURE,
            "/data/local-files/": PICTURE,
            "/tasks/7/resolve/": PICTURE,
        }
        found = fetched(
            configured(fake),
            "/data/upload/1/a%20b.png",
            f"{prefix}/data/upload/1/a%20b.png",
            f"{fake.url}/data/upload/1/a%20b.png",
            "/data/local-files/?d=some/where/a.png",
            "s3://bucket/some/key.png",
        )
        assert found == [PICTURE] * 5
        assert fake.paths[3:] == [
            f"{prefix}/data/local-files/?d=some/where/a.png",
            f"{prefix}/tasks/7/resolve/?fileuri=czM6Ly9idWNrZXQvc29tZS9rZXkucG5n",
        ]


def test_signed_links_are_followed_to_allowed_origins_without_the_token() -> None:
    with label_studio() as fake, label_studio(key="nobody sends this") as cloud:
        fake.files["/tasks/7/resolve/"] = f"{cloud.url}/bucket/a.png?X-Signature=abc"
        cloud.files["/bucket/a.png"] = PICTURE
        with pytest.raises(LabelStudioError, match="neither Label Studio nor") as refused:
            fetched(configured(fake), "s3://bucket/a.png")
        assert "X-Signature" not in str(refused.value)
        assert cloud.came == []
        allowed = configured(fake, label_studio_picture_origins=f"https://a.example,{cloud.url}")
        # It is asked without a token, which this one refuses.
        with pytest.raises(LabelStudioError, match="status 401"):
            fetched(allowed, "s3://bucket/a.png")
        ((path, headers),) = cloud.came
        assert (path, "authorization" in headers) == ("/bucket/a.png?X-Signature=abc", False)
        with pytest.raises(LabelStudioError):
            fetched(allowed, f"{cloud.url}/bucket/a.png")
        assert all("authorization" not in headers for _, headers in cloud.came)


@pytest.mark.parametrize(
    "leads",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/latest/",
        "file:///etc/passwd",
        "/user/login/?next=/data/a.png",
        "/api/users",
        "/data/../api/users",
        "/data/%2e%2e/api/users",
        "/data/%252e%252e/api/users",
        "/data/..%5capi",
        "http://[::1",
        "gopher://127.0.0.1:11211/_stats",
    ],
)
def test_nothing_else_is_fetched(leads: str) -> None:
    with label_studio() as fake:
        fake.files["/data/a.png"] = leads
        fake.files |= {"/api/users": PICTURE, "/data/../api/users": PICTURE}
        settings = configured(fake)
        with pytest.raises(LabelStudioError):
            fetched(settings, leads)
        assert fake.paths == []
        with pytest.raises(LabelStudioError):
            fetched(settings, "/data/a.png")
        assert fake.paths == ["/data/a.png"]


def test_another_port_scheme_or_user_is_another_place() -> None:
    places = Places("https://labels.example:8443/sub")
    for address in (
        "https://labels.example/sub/data/a.png",
        "http://labels.example:8443/sub/data/a.png",
        "https://evil@labels.example:8443/sub/data/a.png",
        "https://labels.example:8443.evil.example/sub/data/a.png",
        "https://labels.example:8443/submarine/data/a.png",
        "https://labels.example:8443/sub/api/data/a.png",
        "x" * (MAX_LENGTH + 1),
        "",
    ):
        with pytest.raises(RefusedAddressError):
            places.of_picture(address, 1)
    assert places.of_picture("HTTPS://LABELS.EXAMPLE:8443/sub/data/a.png", 1).ours
    assert Places("https://labels.example").of_picture("https://labels.example:443/data/a", 1).ours


def test_redirects_end() -> None:
    with label_studio() as fake:
        fake.files["/data/a.png"] = "/data/a.png"
        with pytest.raises(LabelStudioError, match="more than 3 redirects"):
            fetched(configured(fake), "/data/a.png")
        assert len(fake.paths) == 4


def test_a_long_body_is_given_up() -> None:
    with label_studio() as fake:
        fake.files["/data/a.png"] = bytes(1001)
        with pytest.raises(LabelStudioError, match="more than 1000 bytes"):
            fetched(configured(fake), "/data/a.png")
        fake.files["/data/a.png"] = bytes(1000)
        assert fetched(configured(fake), "/data/a.png") == [bytes(1000)]


def test_a_personal_token_is_good_for_access_tokens_which_end() -> None:
    with label_studio(key=PERSONAL) as fake:
        fake.files["/data/a.png"] = PICTURE
        assert fetched(configured(fake), "/data/a.png", "/data/a.png") == [PICTURE] * 2
        assert fake.access == 1

        async def outlived() -> list[bytes]:
            async with LabelStudio.opened(configured(fake)) as client:
                first = await client.picture("/data/a.png", 1, 1000)
                fake.access += 1  # the one that was given out is good no more
                return [first, await client.picture("/data/a.png", 1, 1000)]

        assert asyncio.run(outlived()) == [PICTURE] * 2
        assert fake.access == 4
        assert all(PERSONAL not in headers.get("authorization", "") for _, headers in fake.came)


@pytest.mark.parametrize("key", [LEGACY, PERSONAL])
def test_a_wrong_token_is_told_and_not_shown(key: str) -> None:
    with label_studio(key=key) as fake:
        wrong = configured(fake, label_studio_api_key=key.replace("1", "9").replace("N", "M"))
        with pytest.raises(LabelStudioError, match="SATS_LABEL_STUDIO_API_KEY") as refused:
            fetched(wrong, "/data/a.png")
        assert not refused.value.passing
        assert str(wrong.label_studio_api_key.get_secret_value()) not in str(refused.value)  # type: ignore[union-attr]
        assert str(wrong.label_studio_api_key.get_secret_value()) not in repr(wrong)  # type: ignore[union-attr]
        assert len(fake.came) <= 2


def test_who_is_away_is_passing() -> None:
    with label_studio() as fake:
        settings = configured(fake)
        fake.files["/data/a.png"] = 503
        with pytest.raises(LabelStudioError) as busy:
            fetched(settings, "/data/a.png")
        fake.files["/data/a.png"] = 404
        with pytest.raises(LabelStudioError) as gone:
            fetched(settings, "/data/a.png")
    with pytest.raises(LabelStudioError) as away:
        fetched(settings, "/data/a.png")
    assert (busy.value.passing, gone.value.passing, away.value.passing) == (True, False, True)


def test_settings_of_addresses() -> None:
    for values in (
        {"label_studio_url": "labels.example"},
        {"label_studio_url": "https://labels.example/?a=b"},
        {"label_studio_url": "https://me:secret@labels.example"},
        {"label_studio_picture_origins": "*"},
        {"label_studio_picture_origins": "https://a.example, https://me:secret@b.example"},
        {"label_studio_picture_origins": "https://a.example/path"},
        {"label_studio_annotations": -1},
    ):
        with pytest.raises(ValidationError):
            Settings(**values)  # type: ignore[arg-type]
    origins = Settings(label_studio_picture_origins="https://a.example, http://b.example:9000")
    assert origins.label_studio_origins == ("https://a.example", "http://b.example:9000")
    assert httpx.URL("https://a.example").host == "a.example"
