"""One attempt: signed, to an address that was checked, ended whatever the receiver does."""

import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.errors import InvalidProblem
from app.webhooks import sending
from app.webhooks.addresses import check_url, is_public
from app.webhooks.secrets import webhook_secret
from app.webhooks.sending import Answer, send
from tests.fixtures.receivers import receiving

SECRET = webhook_secret(b"of the service", "salt")


@pytest.fixture
def receiver():
    with receiving() as running:
        yield running


def post(url, *, private=True):
    return send(url, SECRET, "some-id", int(time.time()), {"event": "task.ended"}, private)


def test_the_receiver_can_check_who_sent_it_and_when(receiver):
    before = int(time.time())
    assert post(receiver.url) == sending.Answer(204, None)
    path, headers, body = receiver.came[0]
    assert (path, json.loads(body)) == ("/hook?x=1", {"event": "task.ended"})
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"
    assert before <= int(headers["webhook-timestamp"]) <= time.time()
    assert (headers["webhook-id"], headers["content-type"]) == ("some-id", "application/json")
    assert webhook_secret(b"of the service", "other salt") != SECRET


@pytest.mark.parametrize("status", [301, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    receiver.answers.append(status)
    assert post(receiver.url) == sending.Answer(status, f"answered with status {status}")
    assert len(receiver.came) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "[fe80::1]",
        "[fc00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[64:ff9b:1::7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:7f00:1]",
        "[2001:0:7f00:1::]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[5f00::1]",
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_public(receiver, host):
    answer = post(f"http://{host}:{receiver.port}/hook", private=False)
    assert answer.status is None
    assert "public" in answer.error or "gaierror" in answer.error
    assert not receiver.came


def test_public_addresses_are_told_from_others():
    public = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
    assert all(is_public(ipaddress.ip_address(one)) for one in public)


def test_a_resolver_that_hangs_is_given_up(monkeypatch):
    gate, answered = threading.Event(), []

    def look_up(*_a, **_kw):
        gate.wait(5)
        answered.append("late")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("app.webhooks.sending.TIMEOUT_SECONDS", 0.2)
    answer = post("http://receiver.example/hook")
    assert answer == Answer(None, "no answer within 0.2 seconds")
    assert not answered
    gate.set()


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(receiver, monkeypatch):
    """A name that answers otherwise the second time (DNS rebinding) gains nothing."""
    looked_up = []

    def look_up(host, port, *_a, **_kw):
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def is_allowed(address):  # what the first answer would be in the world outside
        return address == ipaddress.ip_address("127.0.0.1")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", look_up)
        patched.setattr("app.webhooks.addresses.is_public", is_allowed)
        url = f"http://rebinding.example:{receiver.port}/hook"
        assert post(url, private=False).status == 204
        assert post(url, private=False).status is None, "now the name leads elsewhere"
    # httpx hands addresses, never names, to the resolver.
    assert [host for host in looked_up if "rebinding" in str(host)] == [
        "rebinding.example",
        "rebinding.example",
    ]
    assert len(receiver.came) == 1
    assert receiver.came[0][1]["host"] == f"rebinding.example:{receiver.port}"


def test_environment_proxies_are_not_used(receiver, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert post(receiver.url).status == 204


@contextmanager
def raw_server(handle):
    """A server whose every connection is `handle`d in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    handle(connection)
            except OSError:
                pass  # the client has hung up, as it should

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    thread.join(30)
    assert not thread.is_alive()


def test_a_receiver_that_drips_is_given_up(monkeypatch):
    """Every read succeeds in time; the whole does not."""
    monkeypatch.setattr(sending, "TIMEOUT_SECONDS", 1.0)

    def drip(connection) -> None:
        connection.recv(65536)
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with raw_server(drip) as url:
        assert "within 1 seconds" in post(url).error


def test_an_answer_without_end_is_not_read():
    def pour(connection) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with raw_server(pour) as url:
        assert post(url).status == 200


def test_nobody_there_is_an_answer_too():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert "ConnectError" in post(f"http://127.0.0.1:{probe.getsockname()[1]}/").error


@pytest.fixture
def certified(tmp_path, monkeypatch):
    """An HTTPS server whose certificate is for `hooks.example` alone."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.example -addext"
    files = ["-keyout", str(key), "-out", str(certificate)]
    name = "subjectAltName=DNS:hooks.example"
    subprocess.run([*make.split(), name, *files], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_a: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_a: None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(30)
    server.server_close()


def test_the_certificate_must_be_the_names_though_an_address_is_connected_to(
    certified, monkeypatch
):
    def look_up(host, port, *_a, **_kw):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert post(f"https://hooks.example:{certified}/").status == 202
    assert "certificate" in post(f"https://other.example:{certified}/").error.lower()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/hook",
        "ftp://example.org/",
        "https://",
        "https://eva:secret@example.org/",
        "https://example.org/#x",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.1.2.3/",
        "https://example.org:99999/",
        "https://a%20b.org/",
        "https://exa mple.org/",
        "https://\ud800.org/",
    ],
)
def test_urls_that_are_refused_at_once(url):
    with pytest.raises(InvalidProblem) as raised:
        check_url(url, private=False)
    assert raised.value.errors[0].field == "url"


def test_urls_that_are_taken():
    check_url("https://example.org/hook?a=b", private=False)
    check_url("http://10.1.2.3/", private=True)
