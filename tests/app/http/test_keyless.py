"""Before the first key is made: who is on this machine, and who only looks like it."""

import socket

import pytest
from starlette.requests import HTTPConnection

from app.db import write_session
from app.http.keyless import LOCAL_CALLER, LocalCallersOnlyProblem, check_local
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, revoke_key


def call(client="127.0.0.1", version="1.1", **headers):
    """Check who calls; headers with underscores for hyphens, the host's own one by default."""
    given = {"host": "127.0.0.1:8000"} | headers
    raw = [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in given.items()]
    scope = {"type": "http", "headers": raw, "http_version": version}
    scope["client"] = (client, 50000) if client else None
    check_local(HTTPConnection(scope))


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"client": "127.8.9.1", "host": "localhost"},
        {"client": "::1", "host": "[::1]:8000"},
        {"client": "::1", "host": "[::1]"},
        {"host": "LOCALHOST:8000"},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "http://127.0.0.1:8000", "sec_fetch_site": "same-origin"},
        {"origin": "https://127.0.0.1:8000"},
    ],
)
def test_callers_on_this_machine_may_do_everything(request_):
    call(**request_)
    assert LOCAL_CALLER.scopes == frozenset(Scope)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"client": "10.0.0.7"}, "another machine"),
        ({"client": "testclient"}, "another machine"),
        ({"client": None}, "another machine"),
        ({"forwarded": "for=127.0.0.1"}, "through a proxy (`forwarded`)"),
        ({"x_forwarded_for": "127.0.0.1"}, "through a proxy (`x-forwarded-for`)"),
        ({"x_forwarded_host": "127.0.0.1"}, "through a proxy (`x-forwarded-host`)"),
        ({"x_forwarded_proto": ""}, "through a proxy (`x-forwarded-proto`)"),
        ({"x_real_ip": "127.0.0.1"}, "through a proxy (`x-real-ip`)"),
        ({"via": "1.1 caddy"}, "through a proxy (`via`)"),
        ({"version": "1.0"}, "HTTP/1.0"),
        ({"host": "evil.example:8000"}, "'evil.example:8000', which is no name of this machine"),
        ({"host": "127.0.0.1.evil.example"}, "no name of this machine"),
        ({"host": "192.168.1.4:8000"}, "no name of this machine"),
        ({"host": ""}, "no name of this machine"),
        ({"host": "[::1"}, "no name of this machine"),
        ({"origin": "https://evil.example"}, "another site ('https://evil.example')"),
        ({"origin": "http://localhost:3000"}, "another site"),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, "another site"),
        ({"origin": "null"}, "another site"),
        ({"sec_fetch_site": "cross-site"}, "another site"),
        ({"sec_fetch_site": "same-site"}, "another site"),
    ],
)
def test_whoever_may_be_elsewhere_is_refused_and_told_to_make_a_key(request_, why):
    with pytest.raises(LocalCallersOnlyProblem) as refused:
        call(**request_)
    assert why in refused.value.detail
    assert "sats keys create" in refused.value.detail


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"},
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
    ],
)
def test_a_real_server_refuses_them_and_probes_stay_open(served, headers):
    """The server itself reads what a proxy on this machine says, and believes it."""
    answer = served.get("/admin/models", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:sats:problem:local-callers-only"
    assert served.get("/health/live", headers=headers).status_code == 200
    assert served.get("/admin/models").status_code == 200


def test_a_proxy_that_speaks_http_1_0_is_refused_by_a_real_server(served):
    where = (served.base_url.host, served.base_url.port)
    request = f"GET /admin/models HTTP/1.0\r\nHost: 127.0.0.1:{where[1]}\r\n\r\n"
    with socket.create_connection(where, timeout=30) as line:
        line.sendall(request.encode())
        assert b" 403 " in line.recv(64)


def test_with_a_key_a_proxy_is_welcome_and_without_one_it_is_401(client, engine, settings):
    behind = {"X-Forwarded-For": "203.0.113.7", "Host": "sats.example.org"}
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "ci", [Scope.ADMIN])
    answer = client.get("/admin/models", headers=behind | {"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert client.get("/admin/models", headers=behind).status_code == 401
    with write_session(engine) as session:
        revoke_key(session, "ci")
    assert client.get("/admin/models").status_code == 401, "revoking opens nothing"
