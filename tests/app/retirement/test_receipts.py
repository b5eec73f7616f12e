"""A receipt is known again, as it was signed and by who signed it."""

import json

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.db import utc_now
from app.keys.secret import read_secret
from app.keys.signing import is_signed
from app.retirement.receipts import PURPOSE, is_genuine, read_receipt, signed
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


def told(change=()):
    """A signed receipt as JSON holds it, changed afterwards."""
    return signed(SECRET, receipt()).model_dump(mode="json") | dict(change)


def test_it_is_known_again_after_a_way_through_json():
    again = read_receipt(signed(SECRET, receipt()).model_dump_json())
    assert is_genuine(SECRET, again)
    assert not is_genuine(b"another", again)
    assert not is_genuine(SECRET, receipt().model_dump(mode="json")), "it has no signature"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 5},
        {"version": "4"},
        {"version": 4.0},
        {"kept": ["more"]},
        {"deleted": []},
        {"signature": "0" * 64},
        {"signature": None},
        {"signature": 1},
        {"beside": 1},
    ],
)
def test_whatever_is_changed_breaks_it(change):
    assert not is_genuine(SECRET, told(change))


def test_what_is_signed_can_be_put_together_from_the_record():
    """As the documentation says: all but the signature, keys sorted, no spaces."""
    rest = told()
    signature = rest.pop("signature")
    said = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert is_signed(SECRET, PURPOSE, said, signature)


def test_a_receipt_from_before_there_were_notes_stands():
    """What has nothing more to say of a zip has no such field, then as now."""
    assert "note" not in told()["deleted"][0]
    noted = receipt().deleted[0].model_copy(update={"bytes": None, "note": "gone before"})
    again = signed(SECRET, receipt().model_copy(update={"deleted": (noted,)}))
    found = read_receipt(again.model_dump_json())
    assert (found["deleted"][0]["bytes"], found["deleted"][0]["note"]) == (None, "gone before")
    assert is_genuine(SECRET, found)


AROUND = (
    "within itself",
    "beside itself",
    "twice",
    "another number",
    "another model",
    "other classes",
    "a version without",
    "nested records",
    "nested lists",
    "a list",
    "an empty record",
    "no JSON",
)


def version(receipt, **change):
    retirement = {"retired": ["sheep"], "receipt": receipt}
    return {"model": "default", "number": 4, "retirement": retirement, **change}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(told({"retirement": {"receipt": told()}})),
        json.dumps(told({"receipt": told()})),
        json.dumps(told()).replace("{", '{"kept": ["nothing"], ', 1),
        json.dumps(version(told(), number=9)),
        json.dumps(version(told(), model="other")),
        json.dumps(version(told(), retirement={"retired": ["circle"], "receipt": told()})),
        json.dumps(version(None)),
        '{"retirement":' * 3000,
        "[" * 200_000,
        "[]",
        "{}",
        "no JSON",
    ],
    ids=AROUND,
)
def test_what_stands_around_a_receipt_is_vouched_for_by_nobody(text):
    with pytest.raises(ValueError, match=r"\w"):
        read_receipt(text)


def test_the_command_tells(settings, monkeypatch, tmp_path):
    for module in ("audit", "common"):
        monkeypatch.setattr(f"app.cli.{module}.get_settings", lambda: settings)
    made = signed(read_secret(settings), receipt())
    for text, status in (
        (made.model_dump_json(), 0),
        (json.dumps(version(made.model_dump(mode="json"))), 0),
        (made.model_copy(update={"version": 9}).model_dump_json(), 1),
        ("[" * 200_000, 1),
        ("{}", 1),
    ):
        file = tmp_path / "receipt.json"
        file.write_text(text)
        done = CliRunner().invoke(cli, ["audit", "receipt", str(file)])
        assert done.exit_code == status, text[:80]
        assert ("sheep" in done.output) is (status == 0)
        as_json = CliRunner().invoke(cli, ["audit", "receipt", str(file), "--json"])
        assert as_json.exit_code == status
        assert bool(as_json.stdout) is (status == 0)
        if status == 0:
            assert json.loads(as_json.stdout)["genuine"]
