"""A redis-server of one's own on a free port of the loopback interface, for benchmarks and tests."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from feature_repo.errors import FeatureRepoError


@contextmanager
def redis_server() -> Iterator[str]:
    """Its address; it keeps nothing on disk and ends with the block.

    Raises:
        FeatureRepoError: the program is not installed, or does not start.
    """
    program = shutil.which("redis-server")
    if not program:
        raise FeatureRepoError("redis-server is not installed: `apt-get install redis-server` (Debian), or leave Redis out.")
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                _wait(server, port)
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                server.terminate()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], port: int, seconds: float = 20.0) -> None:
    """Until it answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as asked:
                asked.sendall(b"PING\r\n")
                if asked.recv(7) == b"+PONG\r\n":
                    return
        except OSError:
            time.sleep(0.02)
    raise FeatureRepoError(f"redis-server does not answer on port {port}.")
