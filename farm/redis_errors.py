"""What redis-py raises, as one clear line that names what to change."""

from __future__ import annotations

import socket
import ssl

import redis

from farm.errors import BrokerError

_RULES = "Give the user the rules of deploy/redis/users.acl.example"


def explained(error: Exception) -> BrokerError:
    """The error a user sees for whatever redis-py or the socket below it raised."""
    cause = error.__cause__ or error.__context__
    text = str(error).rstrip(".")
    if isinstance(error, redis.exceptions.AuthenticationError):
        return BrokerError(f"Redis refused user or password: {text}", fix="Correct both in FARM_REDIS_URL")
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return BrokerError("Redis is still loading its data", fix="Try again in a moment")
    if isinstance(cause, ssl.SSLError) or (isinstance(cause, TimeoutError) and "handshake" in str(cause)):
        return _of_tls(cause)
    if isinstance(cause, socket.gaierror):
        return BrokerError(f"Redis cannot be reached: {text}", fix="Correct the host in FARM_REDIS_URL")
    if isinstance(cause, ConnectionResetError) or "closed by server" in text:
        return BrokerError(
            f"Redis closed the connection: {text}",
            fix="Write rediss:// in FARM_REDIS_URL if it speaks TLS; set FARM_REDIS_CERT_FILE if it asks",
        )
    if isinstance(error, redis.exceptions.TimeoutError):
        return BrokerError("Redis did not answer in time", fix="Check the host in FARM_REDIS_URL")
    if isinstance(error, redis.exceptions.ConnectionError | OSError):
        return BrokerError(
            f"Redis cannot be reached: {text}",
            fix="Start it, correct FARM_REDIS_URL, or unset it to use an embedded one",
        )
    return _of_command(error, text)


def _of_tls(cause: Exception) -> BrokerError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        if "mismatch" in reason:
            fix = "Write the host in FARM_REDIS_URL as the certificate has it"
        else:
            fix = "Set FARM_REDIS_CA_FILE to the file of the CA that signed it"
        return BrokerError(f"the certificate of Redis was not accepted: {reason}", fix=fix)
    # Whoever writes before he reads hears only the end.
    if isinstance(cause, ssl.SSLEOFError) or "CERTIFICATE_REQUIRED" in str(cause):
        return BrokerError(
            "Redis ended the TLS connection: it asks for a client certificate, or refuses ours",
            fix="Set FARM_REDIS_CERT_FILE and FARM_REDIS_KEY_FILE",
        )
    if "handshake" in str(cause) or "WRONG_VERSION" in str(cause):
        return BrokerError(
            "no TLS is spoken at this port of Redis",
            fix="Correct the port, or write redis:// in FARM_REDIS_URL",
        )
    return BrokerError(
        f"TLS to Redis failed: {cause}",
        fix="Check FARM_REDIS_CA_FILE, FARM_REDIS_CERT_FILE and FARM_REDIS_KEY_FILE",
    )


def _of_command(error: Exception, text: str) -> BrokerError:
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return BrokerError("Redis is full", fix="Raise maxmemory; nothing was lost")
    # Inside a script the same denial comes without its name.
    if isinstance(error, redis.exceptions.NoPermissionError) or "user executing the script" in text:
        return BrokerError(f"Redis forbids it: {text}", fix=_RULES)
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return BrokerError("this Redis is a read-only replica", fix="Name the primary in FARM_REDIS_URL")
    if text.startswith("MISCONF"):
        return BrokerError(f"Redis cannot write its disk: {text}", fix="Make room there; nothing was lost")
    return BrokerError(f"Redis answered: {text}")
