"""A server of files on this machine, in the place of the one that a dataset is fetched from."""

import hashlib
import http.server
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

SUMS = "SHA256SUMS.txt"


class Mirror(http.server.ThreadingHTTPServer):
    """Serves `bodies` (name -> content) in a folder, with a list of their SHA-256; `cut` answers break off half-way."""

    daemon_threads = True

    def __init__(self, folder: str, bodies: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.bodies = folder, dict(bodies)
        self.url = f"http://127.0.0.1:{self.server_port}/{folder}"
        self.cut = 0
        self.asked: list[str] = []

    def handle_error(self, *_) -> None:
        """A client that went away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *_) -> None: ...

    def do_GET(self) -> None:
        name = self.path.removeprefix(f"/{self.server.folder}/")
        self.server.asked.append(name)
        body = self.sums() if name == SUMS else self.server.bodies.get(name, b"")
        self.send_response(200 if body or name == SUMS else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cut:
            self.server.cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def sums(self) -> bytes:
        digests = {name: hashlib.sha256(body).hexdigest() for name, body in self.server.bodies.items()}
        return "".join(f"{digest} {name}\n" for name, digest in digests.items()).encode()


def named(names: Iterable[str]) -> dict[str, bytes]:
    """Files whose content is their name."""
    return {name: name.encode() for name in names}


@contextmanager
def serving(folder: str, bodies: Mapping[str, bytes]) -> Iterator[Mirror]:
    """A mirror that runs."""
    with Mirror(folder, bodies) as mirror:
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield mirror
        mirror.shutdown()
