"""A certificate authority of the tests' own, and servers that speak TLS with what it has signed."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers import Server, folder, free_ports, program, redis_binary


@dataclass
class Authority:
    """A certificate authority of the tests' own, and what it has signed, as files."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def make(self) -> "Authority":
        self.folder.mkdir(parents=True, exist_ok=True)
        openssl(
            self.folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj",
            "/CN=CA of the tests", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        return self

    def sign(self, name: str, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 30):
        """A certificate for *names*; a negative number of *days* makes one that has expired.
        Returns its path and its key's."""
        openssl(
            self.folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
        )  # fmt: skip
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        since = time.time() - 40 * 86400
        span = ["-days", str(days)]
        if days < 0:
            # `openssl x509` has no start date in version 3.0; `openssl ca` has.
            return self._sign_by_date(name, since, time.time() + days * 86400)
        openssl(
            self.folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-extfile", f"{name}.ext", *span,
        )  # fmt: skip
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _sign_by_date(self, name: str, start: float, end: float):
        (self.folder / "index").write_text("")
        (self.folder / "serial").write_text("77\n")
        (self.folder / "ca.conf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n"
            "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        )
        form = "%y%m%d%H%M%SZ"
        openssl(
            self.folder, "ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile",
            "ca.key", "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext", "-extfile",
            f"{name}.ext", "-startdate", time.strftime(form, time.gmtime(start)), "-enddate",
            time.strftime(form, time.gmtime(end)),
        )  # fmt: skip
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"


def openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [program("openssl"), *arguments], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**os.environ, "RANDFILE": str(folder / "rnd")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def tls_server(
    authority: Authority, certificate: tuple[Path, Path], ask: bool = False
) -> Iterator[Server]:
    """A server that speaks TLS only, on its port; with *ask* it wants certificates of clients."""
    with folder() as place:
        (port,) = free_ports(1)
        options = {
            "port": "0",
            "tls-port": str(port),
            "tls-cert-file": str(certificate[0]),
            "tls-key-file": str(certificate[1]),
            "tls-ca-cert-file": str(authority.ca),
            "tls-auth-clients": "yes" if ask else "no",
        }
        client = {
            "ssl": True,
            "ssl_ca_certs": str(authority.ca),
            "ssl_certfile": str(certificate[0]),
            "ssl_keyfile": str(certificate[1]),
            "ssl_cert_reqs": "none",
        }
        made = Server(place, redis_binary(), port, options, client)
        try:
            yield made.start()
        finally:
            made.stop()
