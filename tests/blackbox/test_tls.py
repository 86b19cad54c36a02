# SPDX-License-Identifier: Apache-2.0
"""The API over TLS, with certificates that openssl makes."""
import hashlib
import signal
import socket
import ssl
import subprocess

import pytest
from conftest import PATIENCE, program, until


def make_certificate(folder, name, kind="ec"):
    """folder/name.pem and folder/name.key, self-signed, for 127.0.0.1."""
    algorithm = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else ["rsa:2048"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *algorithm, "-nodes", "-days", "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / (name + ".key")), "-out", str(folder / (name + ".pem"))],
        check=True, capture_output=True,
    )
    return {"tls_cert": str(folder / (name + ".pem")), "tls_key": str(folder / (name + ".key"))}


@pytest.fixture(params=["ec", "rsa"])
def certificate(request, tmp_path):
    return make_certificate(tmp_path, "server", request.param)


@pytest.fixture
def with_tls(start_daemon, certificate):
    daemon = start_daemon(**certificate)
    daemon.session.verify = certificate["tls_cert"]
    return daemon


def handshake(daemon, certificate=None, **limits):
    """Version and certificate of a connection."""
    context = ssl.create_default_context(cafile=certificate)
    if not certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, value in limits.items():
        setattr(context, name, value)
    with socket.create_connection(daemon.address, timeout=PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            return connection.version(), connection.getpeercert(binary_form=True)


def test_conversions_over_tls(with_tls, model, certificate):
    daemon = with_tls
    assert daemon.url.startswith("https://")
    answer = daemon.post("/v1/convert?format=zip", model)
    assert answer.status_code == 200 and answer.headers["H5PT-Verdict"] == "converted"
    job = daemon.job(answer.headers["H5PT-Conversion"])
    for artifact in job["artifacts"]:
        assert hashlib.sha256(daemon.get(artifact["href"]).content).hexdigest() == artifact["sha256"]
    answer = daemon.post("/v1/inspect", None, files={"model": model})
    assert answer.status_code == 200 and answer.json()["verdict"] == "converted"
    # The listener for operators stays without.
    assert daemon.session.get(daemon.admin + "/livez", timeout=PATIENCE).status_code == 200
    assert daemon.admin.startswith("http://")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions(with_tls, certificate):
    version = ssl.TLSVersion
    assert handshake(with_tls, certificate["tls_cert"])[0] == "TLSv1.3"
    assert handshake(with_tls, certificate["tls_cert"], maximum_version=version.TLSv1_2)[0] == "TLSv1.2"
    for old in version.TLSv1, version.TLSv1_1:
        with pytest.raises((ssl.SSLError, ConnectionError), match="(?i)alert|EOF|reset"):  # it is the server that says no
            handshake(with_tls, minimum_version=version.TLSv1, maximum_version=old)
    # Whoever speaks no TLS gets nothing, and harms nobody.
    with socket.create_connection(with_tls.address, timeout=PATIENCE) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
        try:
            assert not plain.recv(4096).startswith(b"HTTP/")
        except ConnectionError:
            pass
    assert with_tls.get("/livez").status_code == 200


def test_a_renewed_certificate_is_read_again(start_daemon, tmp_path):
    paths = make_certificate(tmp_path, "server")
    daemon = start_daemon(**paths)
    before = handshake(daemon)[1]

    def reload(expected):
        count = lambda: len([line for line in daemon.log() if line["event"] == "reloaded"])
        errors = lambda: len([line for line in daemon.log() if line["event"] == "not_reloaded"])
        seen, wrong = count(), errors()
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: count() > seen, "it is read again")
        assert (errors() - wrong == 0) == expected

    make_certificate(tmp_path, "server", "rsa")
    reload(True)
    after = handshake(daemon)[1]
    assert after != before and handshake(daemon, paths["tls_cert"])[1] == after
    make_certificate(tmp_path, "other")
    (tmp_path / "server.key").write_bytes((tmp_path / "other.key").read_bytes())
    reload(False)
    assert handshake(daemon)[1] == after


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda folder, paths: paths.pop("tls_key"), "--tls-key"),
        (lambda folder, paths: paths.pop("tls_cert"), "--tls-cert"),
        (lambda folder, paths: paths.update(tls_cert="/nonexistent"), "/nonexistent"),
        (lambda folder, paths: paths.update(tls_key=paths["tls_cert"]), "no key"),
        (lambda folder, paths: paths.update(tls_cert=paths["tls_key"]), "no certificate"),
        (lambda folder, paths: paths.update(tls_key=make_certificate(folder, "other")["tls_key"]), "not that of the certificate"),
    ],
)
def test_half_a_configuration_is_fatal(tmp_path, change, named):
    paths = make_certificate(tmp_path, "server")
    change(tmp_path, paths)
    arguments = [text for name, value in paths.items() for text in ("--" + name.replace("_", "-"), value)]
    done = subprocess.run(
        [program("h5ptd"), "--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir", str(tmp_path / "data"), *arguments],
        env={}, capture_output=True, text=True, timeout=PATIENCE,
    )
    assert done.returncode == 2 and named in done.stderr, done.stderr


def test_the_health_check_asks_the_other_listener(with_tls, certificate):
    environment = {"H5PT_TLS_CERT": certificate["tls_cert"], "H5PT_LISTEN": with_tls.url.split("/")[2], "H5PT_ADMIN_LISTEN": with_tls.admin.split("/")[2]}
    assert subprocess.run([program("h5pt"), "healthcheck"], env=environment, timeout=PATIENCE).returncode == 0
