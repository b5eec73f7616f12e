import pytest

from app.settings import Settings


@pytest.mark.parametrize("former", ["SERVE_DEADLINE", "SERVE_WARM_UP"])
def test_settings_in_seconds_keep_the_name_that_they_had(
    former: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = f"{former.lower()}_seconds"
    monkeypatch.setenv(f"SATS_{former}", "7")
    assert getattr(Settings(), field) == 7
    monkeypatch.setenv(f"SATS_{former}_SECONDS", "8")
    assert getattr(Settings(), field) == 8
    assert getattr(Settings(**{field: 9}), field) == 9
