"""Asking HTTP servers safely and patiently: HTTPS only, silence has an end, and what gives out is asked again."""

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from eegjax.errors import UserError

TIMEOUT_S = 30.0  # without a byte
RETRIES = 5  # in a row without a new byte
BACKOFF_S = 0.5  # after a new byte; doubled with every retry without one
_MAX_WAIT_S = 60.0  # that a server may ask for
_CHUNK_BYTES = 2**18
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_T = TypeVar("_T")


class BrokenError(Exception):
    """The connection gave out; asking again, after `wait_s` or later, may help."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        """Why, in a few words of one line."""
        super().__init__(why)
        self.wait_s = wait_s


class StoppedError(Exception):
    """Another file failed, so this one ends where it is."""


def open_url(url: str, headers: dict[str, str]) -> Any:
    """Ask a server.

    Args:
        url: `https://...`; `http://` for a server on this machine only.
        headers: beside the usual ones.

    Returns:
        The response, open: 2xx, or 416 for a range that isn't there.

    Raises:
        UserError: `url` or an address that it redirects to is unsafe, or the server refuses for good.
        BrokenError: the server can't be reached or refuses for now: what may pass.
    """
    proxies = [ProxyHandler({})] if _check_url(url) else []  # this machine is not reached through a proxy
    request = Request(url, headers={"User-Agent": "eegjax", **headers})
    try:
        return build_opener(_Redirects, *proxies).open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == 416:
            return error
        error.close()
        if error.code >= 500 or error.code in (408, 429):
            wait = error.headers.get("Retry-After", "")
            raise BrokenError(_one_line(error), min(_MAX_WAIT_S, float(wait)) if wait.isdecimal() else 0.0) from error
        raise UserError(
            f"{url}: the server refuses ({_one_line(error)}), expected a file; check the address"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise UserError(
                f"{url}: the server can't prove that it is the one it says ({reason.verify_message}); check the "
                "address, and this machine's clock and certificates"
            ) from error
        raise BrokenError(_one_line(error)) from error


def read_chunks(response: Any) -> Iterator[bytes]:
    """Read a body piece by piece, each as soon as it came.

    Raises:
        BrokenError: the connection gave out. One that is closed early just ends: compare with `total_bytes`.
    """
    while True:
        try:
            chunk = response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenError(_one_line(error)) from error
        if not chunk:
            return
        yield chunk


def total_bytes(response: Any) -> int | None:
    """The size of the whole file, of which a 206 brings a part; None where the server doesn't say."""
    if response.status == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else None


def keep_trying(attempt: Callable[[], _T], n_bytes: Callable[[], int], url: str, stopped: threading.Event) -> _T:
    """Call `attempt` until it isn't broken off.

    Args:
        attempt: returns, or raises `BrokenError`.
        n_bytes: how much came in all attempts; as long as it grows, attempts are not counted.
        url: for the message.
        stopped: set by another thread to end the waiting.

    Returns:
        What `attempt` returns.

    Raises:
        UserError: `attempt` broke off more than `RETRIES` times in a row without a new byte.
        StoppedError: `stopped` is set.
    """
    furthest = n_bytes()
    n_failed = 0
    while True:
        try:
            return attempt()
        except BrokenError as error:
            if n_bytes() > furthest:  # than ever: a server that ignores Range starts over each time
                furthest = n_bytes()
                n_failed = 0
            else:
                n_failed += 1
            if n_failed > RETRIES:
                raise UserError(
                    f"{url}: {error}, {n_failed} times in a row without a new byte; the {n_bytes()} bytes that came "
                    "are kept: start the same command again to continue, when network and server are well"
                ) from error
            if stopped.wait(max(error.wait_s, BACKOFF_S * 2**n_failed)):
                raise StoppedError from error


def read_text(url: str, max_bytes: int = 2**24) -> str:
    """Fetch a short text, such as a list of checksums; HTTPS alone vouches for it.

    Args:
        url: as in `open_url`.
        max_bytes: what it may have.

    Returns:
        The text.

    Raises:
        UserError: what `open_url` and `keep_trying` raise; or the text is longer than `max_bytes`, or isn't UTF-8.
    """

    def attempt() -> bytes:
        text = b""
        with open_url(url, {}) as response:
            for chunk in read_chunks(response):
                text += chunk
                if len(text) > max_bytes:
                    raise UserError(f"{url}: more than {max_bytes} bytes, expected a short text; check the address")
            if len(text) < (total_bytes(response) or 0):
                raise BrokenError("the connection was closed early")
        return text

    try:
        return keep_trying(attempt, lambda: 0, url, threading.Event()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{url}: not UTF-8 ({error.reason}), expected a text; check the address") from error


class _Redirects(HTTPRedirectHandler):
    """Follows to safe addresses only, and from a public server never back to this machine."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if _check_url(newurl, f"{req.full_url} redirects here; ") and not _check_url(req.full_url):
            raise UserError(f"{req.full_url}: it redirects to this machine ({newurl}), not followed; check the address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_url(url: str, came: str = "") -> bool:
    """Whether an address is on this machine; an unsafe one is the user's error."""
    try:
        parts = urlsplit(url)
        valid = bool(re.fullmatch("[!-~]+", url) and parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    local = valid and parts.hostname in _LOOPBACK
    if not valid or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise UserError(
            f"{ascii(url)[1:-1]}: not fetched ({came}what comes could be changed on its way), expected "
            "https://HOST/...; give such an address"
        )
    return local


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
