"""A Redis behind TLS, with certificates of the test's own.

The server on PATH speaks TLS itself where it was built with it; otherwise TLS ends in a relay before it, as
with stunnel. The clients see no difference.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis_server import RedisServer, free_port

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


@dataclass(frozen=True)
class Certificates:
    """PEM files: ``ca``, which signed ``server``, ``elsewhere`` and ``client``, and ``other_ca``."""

    directory: Path

    def certificate(self, name: str) -> Path:
        """The certificate of that name."""
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Its private key."""
        return self.directory / f"{name}.key"


def make_certificates(directory: Path) -> Certificates:
    """Certificates by openssl: ``server`` is for localhost, ``elsewhere`` for another host."""
    made = Certificates(directory)
    for name in ("ca", "other_ca"):
        _openssl(made, name, "-addext", "keyUsage=critical,keyCertSign")
    for name, host in (("server", "localhost"), ("elsewhere", "elsewhere.example"), ("client", "client")):
        signed = ["-CA", str(made.certificate("ca")), "-CAkey", str(made.key("ca"))]
        extensions = [
            "-addext",
            f"subjectAltName=DNS:{host}",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]
        _openssl(made, name, *extensions, *signed)
    return made


def _openssl(made: Certificates, name: str, *more: str) -> None:
    out = ["-keyout", str(made.key(name)), "-out", str(made.certificate(name)), "-subj", f"/CN={name}"]
    subprocess.run(["openssl", "req", "-x509", *_KEY, *out, *more], check=True, capture_output=True)


@contextmanager
def tls_port(
    directory: Path,
    certificates: Certificates,
    server: RedisServer,
    *,
    name: str = "server",
    mutual: bool = False,
) -> Iterator[int]:
    """A port of localhost where TLS leads to a server with the password and data of ``server``.

    mutual: only clients with a certificate are let in
    """
    files = {
        "tls_cert_file": str(certificates.certificate(name)),
        "tls_key_file": str(certificates.key(name)),
        "tls_ca_cert_file": str(certificates.certificate("ca")),
        "tls_auth_clients": "yes" if mutual else "no",
    }
    if shutil.which("redis-server"):
        port = free_port()
        native = RedisServer(directory, tls_port=str(port), **files)
        try:
            native.start()
        except AssertionError:  # built without
            native.stop()
        else:
            try:
                yield port
            finally:
                native.stop()
            return
    port = free_port()
    arguments = [str(port), str(server.port), files["tls_cert_file"], files["tls_key_file"]]
    arguments += [files["tls_ca_cert_file"]] if mutual else []
    command = [sys.executable, str(Path(__file__).with_name("tls_relay.py")), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as relay:
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"listening\n"
        try:
            yield port
        finally:
            relay.kill()
