"""Fetching by URL: off by default, and what a URL, a name or a redirect leads to is never the network around this machine."""

import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from llmops_preprocess.cli import main
from llmops_preprocess.fetch import FetchError, fetch, is_public
from llmops_preprocess.files_config import Fetch
from support.certificate import write_certificate

ARTICLE = "The reader opens a service and knows what it reads, what it does and what it writes, without looking anywhere else."
PAGES = {
    "/page": ("text/html; charset=utf-8", f"<html><head><title>T</title></head><body><article><p>{ARTICLE}</p></article></body></html>"),
    "/plain.txt?x=1": ("text/plain", "A text of its own, which is long enough to be one."),
    "/rows.jsonl": (
        "application/octet-stream",
        "".join(json.dumps({"text": f"Row {number} says something."}) + "\n" for number in range(2)),
    ),
    "/odd": ("application/x-odd", "odd"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["host"]))
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("location", unquote(self.path.partition("?")[2]))
            self.send_header("content-length", "0")
            self.end_headers()
            return
        kind, content = PAGES.get(self.path, ("text/plain", ""))
        self.send_response(200 if self.path in PAGES or self.path in ("/huge", "/endless", "/slow", "/short", "/packed") else 404)
        self.send_header("content-type", kind)
        if self.path == "/packed":
            self.send_header("content-encoding", "gzip")
        if self.path == "/huge":
            self.send_header("content-length", str(10**12))
        elif self.path == "/short":
            self.send_header("content-length", "100")
        elif self.path in ("/endless", "/slow"):
            self.send_header("connection", "close")
        else:
            self.send_header("content-length", str(len(content.encode())))
        self.end_headers()
        try:
            self.wfile.write(content.encode())
            while self.path == "/endless":
                self.wfile.write(b"x" * 4096)
            while self.path == "/slow":
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = self.path in ("/endless", "/slow", "/short")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads, made.asked = True, []
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def place(server):
    return f"127.0.0.1:{server.server_address[1]}"


def fetched(url, resolve=socket.getaddrinfo, **settings):
    found = fetch(url, Fetch(**settings), 10_000, resolve)
    with found.body as body:
        return found.url, found.content_type, body.read().decode()


def reason(url, *, max_bytes=10_000, resolve=None, **settings):
    with pytest.raises(FetchError) as caught:
        fetch(url, Fetch(**settings), max_bytes, *([resolve] if resolve else []))
    return str(caught.value)


def answering(*addresses):
    """A resolver that gives these, and keeps the names it was asked."""

    def resolve(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET6 if ":" in item else socket.AF_INET, socket.SOCK_STREAM, 6, "", (item, port)) for item in addresses]

    asked = []
    return resolve


def never(*_, **__):
    raise AssertionError("a name was looked up")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://example.com/", "scheme 'gopher'"),
        ("//example.com/", "scheme 'none'"),
        ("http://user@example.com/", "credentials"),
        ("https://user:word@example.com/", "credentials"),
        ("http://example.com@169.254.169.254/", "credentials"),
        ("http://@example.com/", "credentials"),
        ("http:///page", "no host"),
        ("http://exa mple.com/", "a space"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http://example.com/\r\nHost: x", "control"),
        ("http://exam%70le.com/", "signs that no name has"),
        ("http://example.com:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://2130706433/", "unusual form"),
        ("http://0x7f000001/", "unusual form"),
        ("http://0x7f.0.0.1/", "unusual form"),
        ("http://0177.0.0.1/", "unusual form"),
        ("http://127.1/", "unusual form"),
        ("http://127.0.0.01./", "unusual form"),
    ],
)
def test_a_url_of_another_kind_is_refused_before_its_name_is_looked_up(url, why):
    assert why in reason(url, resolve=never)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_however_it_is_named(address):
    literal = f"[{address}]" if ":" in address else address
    for url in (f"http://{literal}/", "http://innocent.example/"):
        assert "no public address" in reason(url, resolve=answering(address))
    assert "no public address" in reason("http://innocent.example/", resolve=answering("8.8.8.8", address))


def test_public_addresses_are_public():
    import ipaddress

    for address in ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert is_public(ipaddress.ip_address(address)), address


def test_other_ports_are_refused():
    assert reason("http://example.com:6379/", resolve=answering("8.8.8.8")).startswith("port 6379")


def test_a_name_is_looked_up_once_and_the_connection_goes_where_it_was_checked(server):
    answers = iter(["127.0.0.1", "169.254.169.254", "169.254.169.254"])
    looked_up = []

    def rebinding(host, port, **_):
        looked_up.append(host)
        return answering(next(answers))(host, port)

    *_, body = fetched(f"http://rebind.example:{server.server_address[1]}/page", rebinding, allowed_addresses=[place(server)])

    assert ARTICLE in body
    assert looked_up == ["rebind.example"]
    assert server.asked[-1] == ("/page", f"rebind.example:{server.server_address[1]}")


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """A server with a certificate for bücher.example, which this process trusts; `named` are the names that clients asked TLS for."""
    certificate, key = write_certificate(tmp_path, "xn--bcher-kva.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads, made.asked, made.named = True, [], []
        context.sni_callback = lambda _, name, __: made.named.append(name)
        made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"])
def test_tls_is_asked_for_the_name_and_connected_to_the_address_that_was_checked(tls, host):
    resolve = answering("127.0.0.1")
    url, _, body = fetched(f"https://{host}:{tls.server_address[1]}/page", resolve, allowed_addresses=[place(tls)])

    assert ARTICLE in body
    assert url.startswith("https://xn--bcher-kva.example:")
    assert tls.named == ["xn--bcher-kva.example"]
    assert tls.asked == [("/page", f"xn--bcher-kva.example:{tls.server_address[1]}")]


def test_a_certificate_of_another_name_or_of_nobody_known_is_refused_and_nothing_is_asked(tls, monkeypatch):
    settings = {"resolve": answering("127.0.0.1"), "allowed_addresses": [place(tls)]}
    port = tls.server_address[1]

    assert "Hostname mismatch" in reason(f"https://other.example:{port}/page", **settings)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "self-signed certificate" in reason(f"https://xn--bcher-kva.example:{port}/page", **settings)
    assert tls.asked == []


def test_tls_is_not_left_by_a_redirect(tls):
    settings = {"resolve": answering("127.0.0.1"), "allowed_addresses": [place(tls)]}
    port = tls.server_address[1]

    assert (
        reason(f"https://xn--bcher-kva.example:{port}/to?http://xn--bcher-kva.example:{port}/page", **settings)
        == "redirect from https to http"
    )


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254 is no public address"),
        ("http://[::ffff:169.254.169.254]/", "is no public address"),
        ("http://2852039166/", "unusual form"),
        ("http://127.0.0.1:1/", "127.0.0.1 is no public address"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("http://user:word@example.com/", "credentials"),
    ],
)
def test_a_redirect_is_checked_like_a_url(server, target, why):
    assert why in reason(f"http://{place(server)}/to?{target}", allowed_addresses=[place(server)])


def test_redirects_end(server):
    allowed = {"allowed_addresses": [place(server)], "max_redirects": 2}
    once = f"/to?http://{place(server)}/page"

    assert fetched(f"http://{place(server)}{once}", **allowed)[0].endswith("/page")
    assert "more than 2 redirects" in reason(f"http://{place(server)}/to?/to?/to?/page", **allowed)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/huge", "longer than 10000 bytes"), ("/endless", "longer than 10000 bytes"), ("/short", "broke off 100 bytes before"),
        ("/packed", "content-encoding gzip"), ("/missing", "answered 404"),
    ],
)  # fmt: skip
def test_bodies_are_bounded(server, path, why):
    assert why in reason(f"http://{place(server)}{path}", allowed_addresses=[place(server)])


def test_a_body_that_drips_is_given_up(server):
    started = time.monotonic()

    assert "not done in 0.3 s" in reason(f"http://{place(server)}/slow", allowed_addresses=[place(server)], timeout_s=0.3)
    assert time.monotonic() - started < 10


def test_proxies_of_the_environment_are_not_asked(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")

    assert fetched(f"http://{place(server)}/page", allowed_addresses=[place(server)])[1] == "text/html"


def command(folder, *words):
    return [
        "run", "name=web", "source.kind=files", f"source.uri={folder / 'raw'}", f"out={folder / 'out'}", "vocab_size=400", "max_bad=9",
        "language.code=null", "splits={train: 1, validation: 0, test: 0}", *words,
    ]  # fmt: skip


@pytest.mark.slow  # trafilatura takes seconds to load
def test_a_list_of_urls_is_read_by_media_type_and_what_fails_is_a_dead_letter(server, tmp_path):
    (tmp_path / "raw").mkdir()
    lines = ["# pages", "", *(f"http://{place(server)}{path}" for path in (*PAGES, "/missing")), "http://169.254.169.254/?key=secret"]
    (tmp_path / "raw" / "list.urls").write_text("\n".join(lines))

    assert main(command(tmp_path, f"source.fetch.allowed_addresses=['{place(server)}']")) == 0

    rows = [json.loads(line) for line in (tmp_path / "out" / "rows" / "train.jsonl").read_text().splitlines()]
    names = {row["source"].removeprefix(f"http://{place(server)}"): row["text"] for row in rows}
    assert names.keys() == {"/page", "/plain.txt?x=1", "/rows.jsonl:1", "/rows.jsonl:2"}
    assert names["/page"] == ARTICLE
    letters = [json.loads(line) for line in (tmp_path / "out" / "dead_letter.jsonl").read_text().splitlines()]
    assert [(item["source"], item["line"]) for item in letters] == [("list.urls", 6), ("list.urls", 7), ("list.urls", 8)]
    assert "no reader for the media type application/x-odd" in letters[0]["reason"]
    assert letters[1]["reason"].endswith("/missing: answered 404")
    assert letters[2]["reason"] == "http://169.254.169.254/: host 169.254.169.254: 169.254.169.254 is no public address"


def test_fetching_is_off_by_default(server, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "list.urls").write_text(f"http://{place(server)}/page\n")
    asked = len(server.asked)

    assert main(command(tmp_path)) == 2

    assert len(server.asked) == asked
    assert "fetching is off; set source.fetch={}" in (tmp_path / "out" / "dead_letter.jsonl").read_text()
