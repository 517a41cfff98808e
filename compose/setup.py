"""Prepare a state folder for compose/: folders, secrets, a certificate, and the env file. Standard library alone.

    sudo python3 compose/setup.py --url https://models.example.org

Run it again to change an address or a port: secrets and the certificate that are there stay.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
FOLDERS = ("run", "valkey", "log", "secrets", "gateway", "static", "import", "postgres", "prometheus", "grafana")


def main() -> int:
    """Write everything; 0 when it is done, 1 with a message."""
    options = arguments()
    url = urlsplit(options.url)
    if url.scheme != "https" or not url.hostname:
        print("--url must be the https address that people will use, like https://models.example.org", file=sys.stderr)
        return 1
    state: Path = options.state.resolve()
    if len(str(state)) > 70:
        print(f"{state} is too long a path for the sockets in it.", file=sys.stderr)
        return 1
    make_folders(state, options)
    password = make_secrets(state, options)
    make_certificate(state, url.hostname, options)
    make_configurations(state, options)
    env = state / "compose" / "modelyard.env"
    env.write_text("".join(f"{name}={value}\n" for name, value in settings(state, options).items()))
    own(state / "compose", options)
    words = f"docker compose --env-file {env} -f {HERE}/docker-compose.yml"
    print(f"Ready in {state}.\n\n    {words} -f {HERE}/images.yml build\n    {words} up -d\n")
    print(f"Then open {options.url} and sign in as admin with the password in {password}")
    return 0


def arguments() -> argparse.Namespace:
    """What can be chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the https address that people will use")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/modelyard"), help="(default: %(default)s)")
    parser.add_argument(
        "--certificate", type=Path, help="PEM file with the chain; without it one is made and signed here"
    )
    parser.add_argument("--key", type=Path, help="PEM file with its private key")
    parser.add_argument("--uid", type=int, default=10001, help="who owns the state folder (default: %(default)s)")
    parser.add_argument("--gid", type=int, default=10001, help="and with which group (default: %(default)s)")
    parser.add_argument(
        "--docker-socket", type=Path, default=Path("/var/run/docker.sock"), help="(default: %(default)s)"
    )
    parser.add_argument("--https-port", type=int, help="the front's port (default: the one in --url, or 443)")
    parser.add_argument("--port", type=int, default=8000, help="the gateway's, on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--prometheus-port", type=int, default=9090, help="on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--grafana-port", type=int, default=3000, help="on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--gateways", type=int, default=min(os.cpu_count() or 1, 4), help="gateway processes")
    return parser.parse_args()


def make_folders(state: Path, options: argparse.Namespace) -> None:
    """The state folder and what is in it, for its owner alone; `import` also for jobs, which are nobody's user."""
    for folder in (state, *(state / name for name in FOLDERS), state / "compose/secrets", state / "compose/tls"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(folder, options.uid, options.gid)
    (state / "import").chmod(0o755)


def make_secrets(state: Path, options: argparse.Namespace) -> Path:
    """A file per secret, once; the admin's password file."""
    folder = state / "compose" / "secrets"
    for name in ("postgres_password", "admin_password", "metrics_token", "grafana_password"):
        write_once(folder / name, secrets.token_urlsafe(24))
    password = (folder / "postgres_password").read_text()
    write_once(folder / "database_url", f"postgresql://modelyard:{password}@/modelyard?host={state}/run")
    return folder / "admin_password"


def write_once(path: Path, text: str) -> None:
    """Make a private file unless it is there."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


def make_certificate(state: Path, name: str, options: argparse.Namespace) -> None:
    """The certificate that was given, or one signed by itself: good for a first look, browsers will warn."""
    certificate, key = state / "compose/tls/cert.pem", state / "compose/tls/key.pem"
    if options.certificate and options.key:
        shutil.copyfile(options.certificate, certificate)
        shutil.copyfile(options.key, key)
    elif not certificate.exists():
        kind = "IP" if name.replace(".", "").isdigit() or ":" in name else "DNS"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "365", "-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}"]
        command += ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)


def make_configurations(state: Path, options: argparse.Namespace) -> None:
    """nginx's and Prometheus' files, with the ports filled in."""
    values = {
        "@PORT@": str(options.port),
        "@HTTPS_PORT@": str(https_port(options)),
        # Names differ between distributions' images; the number is the same everywhere.
        "@USER@": "nobody nogroup",
    }
    for source in (HERE / "front/nginx.conf", HERE / "prometheus/prometheus.yml"):
        text = source.read_text()
        for name, value in values.items():
            text = text.replace(name, value)
        (state / "compose" / source.name).write_text(text)


def https_port(options: argparse.Namespace) -> int:
    """Where the front listens."""
    return int(options.https_port or urlsplit(options.url).port or 443)


def settings(state: Path, options: argparse.Namespace) -> dict[str, object]:
    """What docker-compose.yml asks for. No secret among it."""
    return {
        "MODELYARD_STATE_DIR": state,
        "MODELYARD_URL": options.url.rstrip("/"),
        "MODELYARD_PORT": options.port,
        "MODELYARD_GATEWAY_PROCESSES": options.gateways,
        "MODELYARD_UID": options.uid,
        "MODELYARD_GID": options.gid,
        "DOCKER_SOCKET": options.docker_socket,
        "DOCKER_GID": options.docker_socket.stat().st_gid,
        "PROMETHEUS_PORT": options.prometheus_port,
        "GRAFANA_PORT": options.grafana_port,
    }


def own(folder: Path, options: argparse.Namespace) -> None:
    """Give everything in it to the user the containers run as; configurations are for everybody to read."""
    for path in folder.rglob("*"):
        os.chown(path, options.uid, options.gid)
    for path in (folder, *folder.glob("*.*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    sys.exit(main())
