"""A receipt is known again, as it was signed and by who signed it."""

import json

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.db import utc_now
from app.keys.secret import read_secret
from app.retirement.receipts import is_genuine, said, signed
from app.retirement.records import Deleted, Person, Receipt, RetiredClass

SECRET = b"the service's own"


def receipt() -> Receipt:
    eva, worker = Person(type="key", name="eva"), Person(type="worker", name="gpu-1")
    return Receipt(
        model="default",
        version=4,
        parent=3,
        task="00000000-0000-4000-8000-000000000000",
        classes=(RetiredClass(name="sheep", index=5),),
        asked_by=eva,
        deleted_by=worker,
        at=utc_now(),
        deleted=(
            Deleted(
                what="replay_pictures",
                version=3,
                task=None,
                place="blob_store",
                sha256="a" * 64,
                bytes=12,
                pictures=("b" * 64,),
                left=2,
                replaced_by="c" * 64,
                gone=True,
            ),
        ),
        kept=(),
    )


def test_it_is_known_again_after_a_way_through_json():
    made = signed(SECRET, receipt())
    again = Receipt.model_validate(json.loads(made.model_dump_json()))
    assert is_genuine(SECRET, again)
    assert not is_genuine(b"another", again)
    assert not is_genuine(SECRET, receipt()), "it has no signature"


@pytest.mark.parametrize(
    "change", [{"version": 5}, {"kept": ("more",)}, {"deleted": ()}, {"signature": "0" * 64}]
)
def test_whatever_is_changed_breaks_it(change):
    made = signed(SECRET, receipt())
    assert not is_genuine(SECRET, made.model_copy(update=change))


def test_what_is_signed_can_be_put_together_from_the_record():
    """As the documentation says: all but the signature, keys sorted, no spaces."""
    made = signed(SECRET, receipt())
    told = made.model_dump(mode="json")
    told.pop("signature")
    assert said(made) == json.dumps(told, sort_keys=True, separators=(",", ":"))


def test_the_command_tells(settings, monkeypatch, tmp_path):
    monkeypatch.setattr("app.cli.audit.get_settings", lambda: settings)
    made = signed(read_secret(settings), receipt())
    whole = {"number": 4, "retirement": {"receipt": made.model_dump(mode="json")}}
    for text, status in (
        (made.model_dump_json(), 0),
        (json.dumps(whole), 0),
        (made.model_copy(update={"version": 9}).model_dump_json(), 1),
        ("[]", 1),
        ("{}", 1),
        ("no JSON", 1),
    ):
        file = tmp_path / "receipt.json"
        file.write_text(text)
        assert CliRunner().invoke(cli, ["audit", "receipt", str(file)]).exit_code == status, text
