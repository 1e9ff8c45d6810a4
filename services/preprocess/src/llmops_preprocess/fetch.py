"""Fetching by URL from servers nobody vouches for: what a page names must not reach the network around this machine.

Every hop is checked anew: scheme, credentials, port, the form of the host, and all its addresses; the connection goes to an address
that was checked, so a name that changes its mind in between (DNS rebinding) changes nothing. Proxies of the environment are not
asked. The list of what is no public address is IANA's, as Python's `ipaddress` has it (OWASP, "Server Side Request Forgery Prevention").
"""

import contextlib
import http.client
import io
import ipaddress
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from llmops_preprocess.files_config import Fetch

Resolve = Callable[..., Sequence[tuple[Any, ...]]]
"""As `socket.getaddrinfo`."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?|[0-9a-f:.]+")
UNUSUAL_ADDRESS = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
"""Hosts that the C library reads as IPv4: octal, hexadecimal, one number (https://url.spec.whatwg.org/#ends-in-a-number-checker)."""
METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Public addresses behind which a cloud keeps secrets of its machines: Azure's; those of the others are link-local or private."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
REDIRECTS = (301, 302, 303, 307, 308)
PIECE = 1 << 16
QUOTED = "/%:@!$&'()*+,;=~-._?"
HEADERS = {"User-Agent": "llmops-preprocess", "Accept-Encoding": "identity", "Connection": "close"}


class FetchError(ValueError):
    """Why a URL gave no document, in words that name no credentials."""


class Fetched(NamedTuple):
    """What came."""

    url: str
    """Where it was in the end, without a fragment."""
    content_type: str
    """Its media type in lower case, without parameters; empty where the server names none."""
    body: BinaryIO
    """Its bytes, on the disk where they are many."""


def fetch(url: str, config: Fetch, max_bytes: int, resolve: Resolve = socket.getaddrinfo) -> Fetched:
    """The document at a URL, redirects followed. Raises FetchError."""
    deadline, upgraded = time.monotonic() + config.timeout_s, False
    for _ in range(config.max_redirects + 1):
        parts = checked(url)
        if upgraded and parts.scheme == "http":
            raise FetchError("redirect from https to http")
        try:
            found = one_hop(parts, config, max_bytes, deadline, resolve)
        except TimeoutError as error:
            raise FetchError(f"not done in {config.timeout_s:g} s (source.fetch.timeout_s)") from error
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(f"failed ({type(error).__name__}: {error})") from error
        if isinstance(found, Fetched):
            return found
        url, upgraded = urljoin(url, found), parts.scheme == "https"
    raise FetchError(f"more than {config.max_redirects} redirects (source.fetch.max_redirects)")


def checked(url: str) -> SplitResult:
    """The parts of a URL that may be asked for, its host in ASCII."""
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise FetchError("a space, control or backslash in the URL")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if not (parts.hostname or "").isascii() else parts.hostname or ""
    except ValueError as error:
        raise FetchError(f"not a URL ({error})") from error
    if parts.scheme not in ("http", "https"):
        raise FetchError(f"scheme {parts.scheme or 'none'!r}, only http and https are fetched")
    if "@" in parts.netloc:
        raise FetchError("credentials in the URL")
    if not HOST.fullmatch(host):
        raise FetchError("no host, or one with signs that no name has")
    if ":" not in host and UNUSUAL_ADDRESS.fullmatch(host) and not re.fullmatch(r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}", host):
        raise FetchError("an IP address in an unusual form")
    literal = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{literal}:{port or (443 if parts.scheme == 'https' else 80)}", fragment="")


def one_hop(parts: SplitResult, config: Fetch, max_bytes: int, deadline: float, resolve: Resolve) -> Fetched | str:
    """The document, or where it is now."""
    host, port = parts.hostname or "", parts.port or 0
    addresses = public_addresses(host, port, config, resolve)
    timed = Timed(connected(addresses, port, deadline), deadline)
    try:
        if parts.scheme == "https":
            timed.plain.settimeout(timed.left())
            timed.plain = ssl.create_default_context().wrap_socket(timed.plain, server_hostname=host)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = timed
        query = f"?{quote(parts.query, safe=QUOTED)}" if parts.query else ""
        connection.request("GET", quote(parts.path or "/", safe=QUOTED) + query, headers=HEADERS)
        with connection.getresponse() as answer:
            if answer.status in REDIRECTS and answer.getheader("location"):
                return str(answer.getheader("location"))
            if answer.status != http.HTTPStatus.OK:
                raise FetchError(f"answered {answer.status}")
            if (coding := answer.getheader("content-encoding", "identity")) != "identity":
                raise FetchError(f"content-encoding {coding}, which was not asked for")
            content_type = answer.getheader("content-type", "").partition(";")[0].strip().lower()
            return Fetched(parts.geturl(), content_type, body_of(answer, max_bytes))
    finally:
        timed.plain.close()


def body_of(answer: http.client.HTTPResponse, max_bytes: int) -> BinaryIO:
    """All of the body, up to the limit."""
    too_long = FetchError(f"longer than {max_bytes} bytes (source.max_document_bytes)")
    if answer.length is not None and answer.length > max_bytes:
        raise too_long
    with contextlib.ExitStack() as unless_whole:
        body, size = unless_whole.enter_context(tempfile.SpooledTemporaryFile(max_size=1 << 20)), 0
        while piece := answer.read1(PIECE):
            size += len(piece)
            if size > max_bytes:
                raise too_long
            body.write(piece)
        if answer.length:
            raise FetchError(f"broke off {answer.length} bytes before its end")
        unless_whole.pop_all()
    body.seek(0)
    return cast(BinaryIO, body)


def public_addresses(host: str, port: int, config: Fetch, resolve: Resolve) -> list[Address]:
    """The addresses of a host, looked up once. Raises FetchError when one of them is not for everyone."""
    try:
        found = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in resolve(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise FetchError(f"host {host}: no address ({error})") from error
    if not found:
        raise FetchError(f"host {host}: no address")
    for address in found:
        literal = f"[{address}]" if address.version == 6 else str(address)
        if f"{literal}:{port}" in config.allowed_addresses:
            continue
        if not is_public(address):
            raise FetchError(f"host {host}: {address} is no public address")
        if port not in config.ports:
            raise FetchError(f"port {port} (source.fetch.ports: {', '.join(map(str, config.ports))})")
    return found


def is_public(address: Address) -> bool:
    """Whether it is in the part of the Internet that everyone reaches; of addresses that hold another, both."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        inner += [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in NAT64 or int(address) < 1 << 32 else []
        if address.is_site_local or not all(is_public(item) for item in inner if item is not None):
            return False
        if address.ipv4_mapped is not None or address in NAT64:
            return True
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified) and address not in METADATA


def connected(addresses: Sequence[Address], port: int, deadline: float) -> socket.socket:
    """A connection to the first address that answers."""
    for number, address in enumerate(addresses):
        try:
            return socket.create_connection((str(address), port), max(0.001, deadline - time.monotonic()))
        except OSError:
            if number == len(addresses) - 1:
                raise
    raise AssertionError("the last address raises")


class Timed:
    """A connection on which everything together ends by one time, however slowly bytes drip in."""

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self.plain, self.deadline = plain, deadline

    def left(self) -> float:
        """Seconds. Raises TimeoutError when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def sendall(self, content: Any) -> None:
        """Sends bytes."""
        self.plain.settimeout(self.left())
        self.plain.sendall(content)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads the answer from."""
        return io.BufferedReader(TimedReader(self))

    def close(self) -> None:
        """Nothing: http.client calls it before it reads the body."""


class TimedReader(io.RawIOBase):
    """What arrives on such a connection."""

    def __init__(self, timed: Timed) -> None:
        self.timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.timed.plain.settimeout(self.timed.left())
        return self.timed.plain.recv_into(buffer)
