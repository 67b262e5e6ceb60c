"""TLS on the gateway's port: the certificate from files, and again from them when they have changed.

cert-manager and the like renew a certificate by replacing its files. Each handshake looks whether they have changed (at most once
a second); open connections keep what they have, and a renewal that can't be read leaves the old certificate in use.
"""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"


class CertificateError(Exception):
    """A certificate can't be used, in a sentence that names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one content of the files from the next: time, inode and size of each."""

    certificate: tuple[int, int, int]
    key: tuple[int, int, int]


class Certificate:
    """The certificate in a pair of files, and the TLS context of connections that show it."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """
        Args:
            key: None if the private key is in the certificate's file.

        Raises:
            CertificateError: they can't be used.
        """
        self._certificate = certificate
        self._key = key or certificate
        self._version: _Version | None = self._look()
        self._looked_at = time.monotonic()
        self._current = self._load()
        self.context = self._load()
        """For the listening socket: hands each connection over to the newest certificate. The name that a client asks for makes
        no difference."""
        self.context.sni_callback = self._show_newest

    def _show_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self.refresh()
        connection.context = self._current

    def refresh(self) -> None:
        """Use what is in the files now, if it has changed and can be used; else say so, once for each change."""
        self._looked_at = time.monotonic()
        version: _Version | None = None
        try:
            version = self._look()
            if version == self._version:
                return
            self._current = self._load()
        except CertificateError as error:
            if version is None and self._version is None:
                return
            logger.warning("The TLS certificate changed and can't be used, the one before stays in use: %s", error)
        else:
            logger.info("The TLS certificate in %s was renewed.", self._certificate)
        self._version = version

    def _look(self) -> _Version:
        try:
            return _Version(*(_stat(path) for path in (self._certificate, self._key)))
        except OSError as error:
            raise CertificateError(f"{error.filename} can't be read: {error.strerror}") from None

    def _load(self) -> ssl.SSLContext:
        self._check_content(self._certificate, _CERTIFICATE, "certificate")
        self._check_content(self._key, _KEY, "private key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        try:
            context.load_cert_chain(self._certificate, self._key, password=self._no_password)
        except ssl.SSLError as error:
            raise CertificateError(self._explain(error)) from None
        except OSError as error:
            raise CertificateError(f"{self._certificate} or {self._key} can't be read: {error.strerror}") from None
        return context

    def _check_content(self, path: Path, marker: bytes, what: str) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CertificateError(f"{path} can't be read: {error.strerror}") from None
        if marker not in content:
            raise CertificateError(f"{path} has no {what} in PEM form")

    def _no_password(self) -> str:
        raise CertificateError(f"{self._key} has an encrypted private key: only one without a passphrase can be used")

    def _explain(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"The private key in {self._key} doesn't belong to the certificate in {self._certificate}"
        reason = (error.reason or str(error)).replace("_", " ").lower()
        files = self._certificate if self._key == self._certificate else f"{self._certificate} and {self._key}"
        return f"{files} can't be used: {reason}"


def _stat(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size
