"""`sats push` as a user runs it, to a small hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

import app.cli.hub
from app.db import Version, write_session
from tests.fixtures.hub_server import TOKEN, FakeHub, hub_server
from tests.fixtures.versions import add_version, content

pytestmark = [
    pytest.mark.parametrize("database_url", ["embedded"], indirect=True),
    # The hub's client says so of itself.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
]

REPOSITORY = "someone/forest"
CARD = "---\ntags: [semantic-segmentation, sats]\n---\n# Segmentation\n\n| cat | 0.8 |\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # this hub speaks LFS alone
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_server() as there:
        monkeypatch.setenv("HF_ENDPOINT", there.url)
        yield there


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


@pytest.fixture
def line(engine, blobs):
    """Two versions; the second has what a Hugging Face directory has."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        version: Version = add_version(session, blobs, ["dog"])
        more = {"README.md": CARD, "preprocessor_config.json": "{}", "features.safetensors": "f"}
        stored = {name: text.encode() for name, text in more.items()}
        version.files = version.files | {
            name: {"blob": _put(blobs, data), "bytes": len(data)} for name, data in stored.items()
        }


def _put(blobs, data):
    import io

    return blobs.put(io.BytesIO(data)).key


@pytest.mark.usefixtures("line")
def test_a_version_becomes_a_repository_in_one_commit(run, hub, token):
    answer = run("push", "default", REPOSITORY, "--token-file", token)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == (
        f"version 2 of default: 5 files at {hub.url}/{REPOSITORY}/commit/{'1' * 40}\n"
    )
    there = hub.files[REPOSITORY]
    assert there.keys() == {
        "model.safetensors",
        "model.onnx",
        "config.json",
        "preprocessor_config.json",
        "README.md",
    }, "what it keeps of training pictures stays here"
    assert there["model.onnx"] == content("model.onnx", 2)
    assert there["config.json"] == content("config.json", 2)
    assert hub.messages == ["version 2 of default"]
    assert not hub.private[REPOSITORY]
    assert TOKEN not in answer.output


@pytest.mark.usefixtures("line")
def test_where_it_is_now_is_told_to_programs(run, hub, token):
    answer = run("push", "default@1", REPOSITORY, "--token-file", token, "--json")
    told = json.loads(answer.stdout)
    assert told.pop("commit_url") == f"{hub.url}/{REPOSITORY}/commit/{'1' * 40}"
    assert set(told.pop("files")) == set(hub.files[REPOSITORY])
    assert told == {"model": "default", "version": 1, "repository": REPOSITORY}
    assert "transformers does not open it" in answer.stderr
    hub.faults["/commit/main"] = 500
    refused = run("push", "default@1", REPOSITORY, "--token-file", token, "--json")
    assert (refused.exit_code, refused.stdout) == (5, "")


@pytest.mark.usefixtures("line")
def test_the_page_says_classes_lineage_and_no_licence(run, hub, token):
    run("push", "default@2", REPOSITORY, "--token-file", token)
    _, front, body = hub.files[REPOSITORY]["README.md"].decode().split("---\n", 2)
    said = yaml.safe_load(front)
    assert said["library_name"] == "transformers"
    assert said["pipeline_tag"] == "image-segmentation"
    assert "sats" in said["tags"]
    assert "license" not in said
    assert "| cat | 0.8 |" in body
    assert "learned through versions 1 -> 2" in body
    assert "## Licence\n\nNone is stated" in body


@pytest.mark.usefixtures("line")
def test_one_that_transformers_does_not_open_is_pushed_and_says_so(run, hub, token):
    answer = run("push", "default@1", REPOSITORY, "--token-file", token)
    assert answer.exit_code == 0, answer.stderr
    assert "transformers does not open it" in answer.stderr
    assert hub.files[REPOSITORY]["model.onnx"] == content("model.onnx", 1)
    assert b"library_name" not in hub.files[REPOSITORY]["README.md"]


@pytest.mark.usefixtures("line")
def test_the_token_may_be_in_the_environment(run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert run("push", "default", REPOSITORY).exit_code == 0
    assert hub.files[REPOSITORY]


@pytest.mark.usefixtures("line")
def test_a_token_of_the_hub_s_own_login_is_in_no_message(run, hub, tmp_path):
    (tmp_path / "no-token").write_text("hf_of_another_login")
    hub.faults["/api/repos/create"] = 400
    answer = run("push", "default", REPOSITORY)
    assert (answer.exit_code, "made to fail" in answer.stderr) == (4, True), answer.stderr
    assert "hf_of_another_login" not in answer.output


@pytest.mark.usefixtures("line")
def test_what_is_no_word_of_the_hub_rises(run, hub, token, monkeypatch):
    def broken(*_words, **_more):
        raise KeyError("a mistake of the service's")

    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", broken)
    answer = run("push", "default", REPOSITORY, "--token-file", token)
    assert isinstance(answer.exception, KeyError)


@pytest.mark.usefixtures("line")
def test_private_is_private_or_nothing_is_pushed(run, hub, token):
    words = ("push", "default", REPOSITORY, "--private", "--token-file", token)
    assert run(*words).exit_code == 0
    assert hub.private[REPOSITORY]
    hub.files.clear()
    hub.private[REPOSITORY] = False
    answer = run(*words)
    assert answer.exit_code == 4
    assert "there already, and public" in answer.stderr
    assert not hub.files


@pytest.mark.usefixtures("line")
def test_a_repository_that_is_there_gets_another_commit(run, hub, token):
    for _ in range(2):
        assert run("push", "default", REPOSITORY, "--token-file", token).exit_code == 0
    assert len(hub.messages) == 2


@pytest.mark.usefixtures("line")
@pytest.mark.parametrize(
    ("end", "status", "exit_code"),
    [
        ("/api/repos/create", 401, 3),
        ("/api/repos/create", 403, 3),
        ("/api/repos/create", 400, 4),
        ("/preupload/main", 404, 4),
        ("/objects/batch", 403, 3),
        ("/commit/main", 412, 4),
        ("/commit/main", 500, 5),
    ],
)
def test_it_ends_by_what_the_hub_said(run, hub, token, end, status, exit_code, monkeypatch):
    hub.faults[end] = status
    answer = run("push", "default", REPOSITORY, "--token-file", token)
    assert answer.exit_code == exit_code, answer.output
    assert answer.stderr.count("sats: ") == 1
    assert TOKEN not in answer.output
    assert "Traceback" not in answer.output
    assert not hub.files


@pytest.mark.usefixtures("line")
def test_without_a_token_it_is_told_that_one_is_needed(run, hub):
    answer = run("push", "default", REPOSITORY)
    assert answer.exit_code == 3
    assert not hub.files


@pytest.mark.usefixtures("line")
def test_a_hub_that_is_not_there(run, token, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run("push", "default", REPOSITORY, "--token-file", token).exit_code == 5


@pytest.mark.usefixtures("line")
def test_a_hub_that_never_answers(run, hub, token, monkeypatch):
    monkeypatch.setattr(app.cli.hub, "SILENCE_SECONDS", 0.2)
    hub.silent.add("/api/repos/create")
    answer = run("push", "default", REPOSITORY, "--token-file", token)
    assert answer.exit_code == 5, answer.output
    assert "the hub does not answer" in answer.stderr


@pytest.mark.usefixtures("line")
@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["default@two", REPOSITORY], 2),
        (["default", "no/such/name"], 2),
        (["default@9", REPOSITORY], 1),
        (["nope", REPOSITORY], 1),
        (["default", REPOSITORY, "--token-file", "no-such-file"], 1),
    ],
)
def test_what_is_wrong_here_never_reaches_the_hub(run, hub, token, words, exit_code):
    given = [] if "--token-file" in words else ["--token-file", token]
    assert run("push", *words, *given).exit_code == exit_code
    assert hub.came == []


@pytest.mark.usefixtures("line")
def test_a_token_that_is_none_is_not_printed(run, hub, tmp_path):
    (tmp_path / "odd").write_text("secret\nsecret2")
    answer = run("push", "default", REPOSITORY, "--token-file", str(tmp_path / "odd"))
    assert answer.exit_code == 3
    assert "secret" not in answer.output


@pytest.mark.usefixtures("line")
def test_a_running_service_s_version(run, served, hub, token):
    words = ("--token-file", token, "--url", str(served.base_url))
    answer = run("push", "default", REPOSITORY, *words)
    assert answer.exit_code == 0, answer.stderr
    there = hub.files[REPOSITORY]
    assert there["model.onnx"] == content("model.onnx", 2)
    assert "features.safetensors" not in there
    assert b"versions 1 -> 2" in there["README.md"]
    assert run("push", "nope", REPOSITORY, *words).exit_code == 4
