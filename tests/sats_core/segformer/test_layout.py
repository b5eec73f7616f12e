import pytest

from sats_core.segformer.layout import is_hub_id


@pytest.mark.parametrize("name", ["nvidia/mit-b0", "a/b", "Acme_2/pets.v1-final", "a/" + "b" * 96])
def test_hub_ids(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "b",
        "a/",
        "/b",
        "a/..",
        "../b",
        "a/b..c",
        "a/.b",
        "a/b/c",
        "a/b\n",
        "ä/b",
        "a/" + "b" * 97,
    ],
)
def test_what_is_none(name: str) -> None:
    assert not is_hub_id(name)
