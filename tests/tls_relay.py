"""TLS ends here and goes on in the clear to a port of this machine, as with stunnel; run by tls_redis.py.

Arguments: port to listen on, port to go on to, certificate, its key, and, where clients must have a
certificate, the CA that signed it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import threading


def main(port: str, target_port: str, certificate: str, key: str, client_ca: str = "") -> None:
    """Relay until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", int(port))) as listening:
        print("listening", flush=True)  # noqa: T201 - what the test waits for
        while True:
            peer, _ = listening.accept()
            threading.Thread(target=relay, args=(context, peer, int(target_port)), daemon=True).start()


def relay(context: ssl.SSLContext, peer: socket.socket, target_port: int) -> None:
    """One connection, to the end of either side."""
    with contextlib.suppress(OSError), peer:
        encrypted = context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        with encrypted, socket.create_connection(("127.0.0.1", target_port)) as plain:
            try:
                encrypted.do_handshake()
            except ssl.SSLError:
                # The client shall read the reason before the end of the connection.
                encrypted.shutdown(socket.SHUT_WR)
                while encrypted.recv(4096):
                    pass
                return
            pass_on(encrypted, plain)


def pass_on(encrypted: ssl.SSLSocket, plain: socket.socket) -> None:
    """Both directions, in one thread: an SSL object is not to be read and written at the same time."""
    while True:
        ready = [encrypted] if encrypted.pending() else select.select([encrypted, plain], [], [])[0]
        for source in ready:
            chunk = source.recv(65536)
            if not chunk:
                return
            (plain if source is encrypted else encrypted).sendall(chunk)


if __name__ == "__main__":
    main(*sys.argv[1:])
