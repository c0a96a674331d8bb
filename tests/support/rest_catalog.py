"""A REST catalog of Iceberg over HTTP, for tests: the protocol in front of a SQLite catalog, with faults on demand.

Speaks what clients use of the specification's `/v1/` paths: config, namespaces, tables, commits.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest, Table
from pyiceberg.table.sorting import SortOrder

Answer = tuple[int, Any]
STATUS: dict[type[Exception], int] = {
    NoSuchTableError: 404,
    NoSuchNamespaceError: 404,
    TableAlreadyExistsError: 409,
    NamespaceAlreadyExistsError: 409,
    CommitFailedException: 409,
}


class RestCatalog:
    """The server's side.

    Attributes:
        url: where it listens.
        lose_answers: so many of the next commits take place, and their answer is cut off.
        refuse: so many of the next commits are answered with 503 and do not take place.
    """

    def __init__(self, tables: MetastoreCatalog) -> None:
        self.tables = tables
        self.lose_answers = 0
        self.refuse = 0
        self._one = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """What the protocol says to one request."""
        with self._one:
            for pattern, respond in _ROUTES.items():
                if match := re.fullmatch(pattern, f"{method} {path}"):
                    try:
                        return respond(self, body, *match.groups())
                    except tuple(STATUS) as error:
                        return STATUS[type(error)], _error(error, STATUS[type(error)])
        return 404, _error(NoSuchTableError(f"{method} {path}"), 404)

    def commit(self, body: Any, namespace: str, name: str) -> Answer:
        """Apply one commit."""
        if self.refuse:
            self.refuse -= 1
            return 503, _error(RuntimeError("busy"), 503)
        asked = CommitTableRequest.model_validate({"identifier": {"namespace": [namespace], "name": name}} | body)
        table = self.tables.load_table((namespace, name))
        done = self.tables.commit_table(table, asked.requirements, asked.updates)
        if self.lose_answers:
            self.lose_answers -= 1
            return 0, None
        return 200, json.loads(done.model_dump_json(by_alias=True))


@contextmanager
def rest_catalog(tables: MetastoreCatalog) -> Iterator[RestCatalog]:
    """A server over a SQLite catalog, for a while."""
    server = RestCatalog(tables)
    try:
        yield server
    finally:
        server.close()


def _table(table: Table) -> Answer:
    return 200, {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json(by_alias=True)),
        "config": {},
    }


def _create(server: RestCatalog, body: Any, namespace: str) -> Answer:
    made = server.tables.create_table(
        (namespace, body["name"]),
        Schema.model_validate(body["schema"]),
        location=body.get("location"),
        partition_spec=PartitionSpec.model_validate(body["partition-spec"]),
        sort_order=SortOrder.model_validate(body["write-order"]),
        properties=body.get("properties") or {},
    )
    return _table(made)


def _namespace(server: RestCatalog, _body: Any, name: str) -> Answer:
    return 200, {"namespace": [name], "properties": dict(server.tables.load_namespace_properties(name))}


def _create_namespace(server: RestCatalog, body: Any) -> Answer:
    server.tables.create_namespace(tuple(body["namespace"]))
    return 200, {"namespace": body["namespace"], "properties": {}}


def _tables(server: RestCatalog, _body: Any, namespace: str) -> Answer:
    found = server.tables.list_tables(namespace)
    return 200, {"identifiers": [{"namespace": list(one[:-1]), "name": one[-1]} for one in found]}


def _drop(server: RestCatalog, _body: Any, namespace: str, name: str) -> Answer:
    server.tables.drop_table((namespace, name))
    return 204, None


def _exists(server: RestCatalog, _body: Any, namespace: str, name: str) -> Answer:
    return (204 if server.tables.table_exists((namespace, name)) else 404), None


_ROUTES: dict[str, Callable[..., Answer]] = {
    "GET /v1/config": lambda *_: (200, {"defaults": {}, "overrides": {}}),
    "GET /v1/namespaces": lambda s, _: (200, {"namespaces": [list(one) for one in s.tables.list_namespaces()]}),
    "POST /v1/namespaces": _create_namespace,
    "GET /v1/namespaces/([^/]+)": _namespace,
    "HEAD /v1/namespaces/([^/]+)": lambda s, _, name: (204 if s.tables.namespace_exists(name) else 404, None),
    "GET /v1/namespaces/([^/]+)/tables": _tables,
    "POST /v1/namespaces/([^/]+)/tables": _create,
    "GET /v1/namespaces/([^/]+)/tables/([^/]+)": lambda s, _, *name: _table(s.tables.load_table(name)),
    "HEAD /v1/namespaces/([^/]+)/tables/([^/]+)": _exists,
    "POST /v1/namespaces/([^/]+)/tables/([^/]+)": RestCatalog.commit,
    "DELETE /v1/namespaces/([^/]+)/tables/([^/]+)": _drop,
}


def _error(error: Exception, code: int) -> Any:
    return {"error": {"message": str(error), "type": type(error).__name__, "code": code}}


def _handler(server: RestCatalog) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, answer = server.answer(self.command, self.path.partition("?")[0], body)
            if not code:  # the answer is lost on its way
                self.connection.close()
                return
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        do_GET = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - as http.server asks for them

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
