"""A schema registry that speaks HTTP on this machine: what the client's ``mock://`` cannot do.

It has levels of compatibility, counts what it is asked, and fails when told to.
"""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class RegistryServer:
    """Subjects with their versions; ``asked`` lists each request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.levels: dict[str, str] = {}
        self.global_level = "BACKWARD"
        self.broken: tuple[int, str] | None = None
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.url = ""

    def add(self, subject: str, **schema: Any) -> int:
        """Register without a check; the same schema has one id in all subjects."""
        known = next((key for key, value in self.schemas.items() if value == schema), None)
        number = known or len(self.schemas) + 1
        self.schemas[number] = schema
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Answer one request."""
        self.asked.append(f"{method} {path}")
        if self.broken is not None:
            return self.broken[0], {"error_code": 50001, "message": self.broken[1]}
        for wanted, pattern, reply in (
            ("GET", r"/schemas/ids/(\d+)", self._schema),
            ("POST", r"/subjects/([^/]+)/versions", self._register),
            ("POST", r"/subjects/([^/]+)", self._lookup),
            ("GET", r"/subjects/([^/]+)/versions", self._versions),
            ("GET", r"/subjects/([^/]+)/versions/(\w+)", self._version),
            ("GET", r"/config/(.+)", self._level),
        ):
            found = re.fullmatch(pattern, path)
            if method == wanted and found:
                answer = reply(body, *found.groups())
                missing = {"error_code": 40401, "message": "not found"}
                return (404, missing) if answer is None else (200, answer)
        return 200, {"compatibilityLevel": self.global_level}

    def _schema(self, body: Any, number: str) -> Any:
        return self.schemas.get(int(number))

    def _register(self, body: dict[str, Any], subject: str) -> Any:
        kept = {key: body[key] for key in ("schema", "references") if body.get(key)}
        return {"id": self.add(subject, **kept)}

    def _lookup(self, body: dict[str, Any], subject: str) -> Any:
        for at, number in enumerate(self.subjects.get(subject, [])):
            if self.schemas[number]["schema"] == body["schema"]:
                return self._told(subject, at)
        return None

    def _versions(self, body: Any, subject: str) -> Any:
        return [at + 1 for at, _ in enumerate(self.subjects.get(subject, []))] or None

    def _version(self, body: Any, subject: str, version: str) -> Any:
        there = self.subjects.get(subject, [])
        at = len(there) - 1 if version == "latest" else int(version) - 1
        return self._told(subject, at) if 0 <= at < len(there) else None

    def _told(self, subject: str, at: int) -> Any:
        number = self.subjects[subject][at]
        return {"subject": subject, "version": at + 1, "id": number, **self.schemas[number]}

    def _level(self, body: Any, subject: str) -> Any:
        level = self.levels.get(subject)
        return None if level is None else {"compatibilityLevel": level}


@contextmanager
def registry_server() -> Generator[RegistryServer]:
    """Serve one on a free port of this machine."""
    world = RegistryServer()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body: dict[str, Any] = json.loads(self.rfile.read(length)) if length else {}
            status, answer = world.answer(self.command, self.path.partition("?")[0], body)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _reply

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    world.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield world
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
