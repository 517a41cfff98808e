"""The Docker adapter: the SDK behind our protocol, every error mapped here."""

import contextlib
import ipaddress
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from webapp.foundation.text import plain
from workers.runtime import docker_forms
from workers.runtime.base import (
    ContainerFacts,
    ContainerMissing,
    ContainerSpec,
    EngineFault,
    HostUnreachable,
    ImageMissing,
    NameTaken,
    NetworkMissing,
    StartRefused,
)

# Docker 26: a mount of one folder of a volume.
SUBPATH_SINCE = (1, 45)


def identity_of(info: Mapping[str, Any]) -> str:
    """Engines up to Docker 20 share one id per machine, so the folder that holds the containers belongs to it."""
    return f"{info.get('ID', '')}@{info.get('DockerRootDir', '')}"[:100]


class DockerRuntime:
    """One Docker engine; see workers.runtime.base.Runtime for the promises.

    `connect` is called with the first question. `timeout_s` is what its calls are limited to, for people to read.
    """

    def __init__(self, connect: Callable[[], docker.APIClient], timeout_s: int) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._client: docker.APIClient | None = None

    def ping(self) -> None:
        """Raises HostUnreachable unless the engine answers."""
        with self._mapped() as client:
            client.ping()

    def identity(self) -> str:
        return identity_of(self.info())

    def info(self) -> dict[str, Any]:
        with self._mapped() as client:
            return dict(client.info())

    def list(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        with self._mapped() as client:
            found = client.containers(all=True, filters=filters)
        return [
            ContainerFacts(
                id=item["Id"],
                name=(item.get("Names") or [""])[0].lstrip("/"),
                status=item["State"],
                labels=item.get("Labels") or {},
                image=item.get("Image", ""),
            )
            for item in found
        ]

    def inspect(self, container: str) -> ContainerFacts:
        with self._mapped() as client:
            return docker_forms.facts(client.inspect_container(container))

    def create(self, spec: ContainerSpec) -> str:
        with self._mapped(creating=True) as client:
            host_config = client.create_host_config(**docker_forms.host_config(_reachable(client, spec)))
            networking = None
            if spec.network is not None and not spec.network.startswith("container:"):
                endpoint = client.create_endpoint_config(ipv4_address=spec.address or None)
                networking = client.create_networking_config({spec.network: endpoint})  # type: ignore[arg-type]
            created = client.create_container(
                image=spec.image,
                command=list(spec.argv) or None,
                entrypoint=list(spec.entrypoint) if spec.entrypoint is not None else None,
                environment=dict(spec.env),
                labels=dict(spec.labels),
                name=spec.name,
                user=spec.user or None,
                host_config=host_config,
                networking_config=networking,
                stop_signal=spec.stop_signal,
                # With the first reader's going the input is closed: a line that never came is noticed.
                stdin_open=spec.reads_input,
                # Health is asked by the watcher; a check inside the image would spend the engine's time.
                healthcheck={"test": ["NONE"]},
            )
        return str(created["Id"])

    def start(self, container_id: str, line: str | None = None) -> None:
        with self._mapped(creating=True) as client:
            if line is None:
                client.start(container_id)
                return
            with _input(client, container_id) as connection:
                client.start(container_id)
                connection.sendall(f"{line}\n".encode())

    def signal(self, container_id: str, signal: str) -> None:
        with self._mapped() as client:
            try:
                client.kill(container_id, signal=signal)
            except APIError as error:
                if error.response is None or error.response.status_code not in (404, 409):
                    raise

    def signals_sent(self, container_id: str) -> tuple[str, ...]:
        filters = {"container": [container_id], "event": ["kill"]}
        with self._mapped() as client:
            # Without both dates the engine would wait for what is still to come, and so it would until a date that its
            # own clock has yet to reach. It takes parts of seconds, which its library's types do not know.
            here = docker_forms.date(client.info().get("SystemTime"))
            now = f"{here.timestamp() if here is not None else time.time():.6f}"
            found = client.events(since=0, until=now, filters=filters, decode=True)  # type: ignore[call-overload]
            told = [str((event.get("Actor") or {}).get("Attributes", {}).get("signal", "")) for event in found]
        return tuple(_signal_name(word) for word in told if word)

    def remove(self, container_id: str) -> None:
        with self._mapped() as client:
            try:
                client.remove_container(container_id, force=True, v=True)
            except APIError as error:
                # 404: gone; 409: somebody else's removal is under way.
                if error.response is None or error.response.status_code not in (404, 409):
                    raise

    def log_tail(self, container_id: str, lines: int) -> str:
        with self._mapped() as client:
            try:
                text = client.logs(container_id, stdout=True, stderr=True, tail=lines)
            except NotFound:
                return ""
        return plain(bytes(text).decode(errors="replace"))[-100_000:]

    def find_image(self, reference: str) -> str | None:
        with self._mapped() as client:
            try:
                return str(client.inspect_image(reference)["Id"])  # type: ignore[no-untyped-call]
            except ImageNotFound:
                return None

    def ensure_network(self, name: str, subnets: tuple[str, ...], labels: Mapping[str, str]) -> str:
        there = self._subnet(name)
        if there:
            return there
        refused = ""
        for subnet in subnets:
            try:
                self._create_network(name, subnet, labels)
            except APIError as error:
                text = str(error.explanation or error)
                if error.response is not None and error.response.status_code == 409:
                    break  # somebody made it between our look and our call
                if "overlap" not in text.lower():
                    raise StartRefused(text) from error
                refused = text
                continue
            break
        there = self._subnet(name)
        if not there:
            raise StartRefused(refused or f"the network {name} could not be made")
        return there

    def _create_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> None:
        pool = docker.types.IPAMPool(subnet=subnet)
        with self._mapped(passing=APIError) as client:
            client.create_network(
                name,
                driver="bridge",
                internal=True,
                check_duplicate=True,
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                options={"com.docker.network.bridge.enable_icc": "false"},
                labels=dict(labels),
            )

    def _subnet(self, name: str) -> str:
        with self._mapped() as client:
            try:
                network = client.inspect_network(name)
            except NotFound:
                return ""
        configs = (network.get("IPAM") or {}).get("Config") or []
        return str(configs[0]["Subnet"]) if configs else ""

    def remove_network(self, name: str) -> bool:
        with self._mapped() as client:
            try:
                client.remove_network(name)
            except NotFound:
                return True
            except APIError as error:
                # Docker says 403 (409 in later versions) of one with containers in it.
                if error.response is None or error.response.status_code not in (403, 409):
                    raise
                return False
        return True

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> bool:
        with self._mapped() as client:
            try:
                client.inspect_volume(name)
                return False
            except NotFound:
                client.create_volume(name, labels=dict(labels))
                return True

    def run(self, spec: ContainerSpec, timeout_s: float) -> tuple[int, str]:
        container_id = self.create(spec)
        try:
            self.start(container_id)
            with self._mapped() as client:
                ended = client.wait(container_id, timeout=ceil(timeout_s))
            return int(ended["StatusCode"]), self.log_tail(container_id, 1000)
        finally:
            self.remove(container_id)

    @contextlib.contextmanager
    def _mapped(
        self, creating: bool = False, passing: type[Exception] | tuple[type[Exception], ...] = ()
    ) -> Iterator[docker.APIClient]:
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except passing:
            raise
        except APIError as error:
            raise _mapped_refusal(error, creating) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, DockerException) as error:
            raise HostUnreachable(_plain(error, self._timeout_s)) from error


@contextlib.contextmanager
def _input(client: docker.APIClient, container_id: str) -> Iterator[Any]:
    """The container's standard input as a socket. It ends when this does."""
    attached = client.attach_socket(container_id, params={"stdin": 1, "stream": 1})
    try:
        # docker-py hands out the reading half of the connection; what it wraps can write.
        yield attached._sock
    finally:
        attached._sock.close()
        attached._response.close()
        attached.close()


def _mapped_refusal(error: APIError, creating: bool) -> Exception:
    text = str(error.explanation or error)
    status = error.response.status_code if error.response is not None else 0
    lowered = text.lower()
    if status == 404 and "image" in lowered:
        return ImageMissing(text)
    if (status == 404 and "network" in lowered) or (creating and "network" in lowered and "not found" in lowered):
        return NetworkMissing(text)
    if status == 404:
        return ContainerMissing(text)
    if status == 409 and "already in use" in lowered and "name" in lowered:
        return NameTaken(text)
    if creating:
        return StartRefused(text)
    return EngineFault(text)


def _signal_name(word: str) -> str:
    """ "15", "TERM" and "SIGTERM" are one, as engines of different years tell it."""
    try:
        return signal.Signals(int(word)).name
    except ValueError:
        return word if word.startswith("SIG") else f"SIG{word}"


def _plain(error: Exception, timeout_s: int) -> str:
    """The innermost reason in one line, without addresses of Python objects."""
    text = str(error)
    if "FileNotFoundError" in text or "No such file" in text:
        return "The Docker socket does not exist."
    if "Connection refused" in text or "ConnectionRefused" in text:
        return "Nothing listens on the Docker socket."
    if "Permission denied" in text:
        return "The Docker socket may not be opened by this user."
    if "timed out" in text.lower():
        return f"Docker did not answer within {timeout_s} seconds."
    return re.sub(r"0x[0-9a-f]+", "…", text)[:300]


def _reachable(client: docker.APIClient, spec: ContainerSpec) -> ContainerSpec:
    """The spec with folders of volumes as paths of the host, where Docker cannot mount a part of a volume by itself."""
    if tuple(map(int, client.api_version.split("."))) >= SUBPATH_SINCE:
        return spec
    mounts = {}
    for source, where in spec.mounts.items():
        volume, _, folder = source.partition("/")
        if volume and folder:
            try:
                source = f"{client.inspect_volume(volume)['Mountpoint']}/{folder}"
            except NotFound as error:
                raise StartRefused(f"bind source path does not exist: the volume {volume}") from error
        mounts[source] = where
    return replace(spec, mounts=mounts)


def routed_subnets() -> list[ipaddress.IPv4Network]:
    """Networks that this machine has routes to, from the kernel's table (little-endian hex words)."""
    table = Path("/proc/net/route")
    found = []
    for line in table.read_text().splitlines()[1:] if table.exists() else []:
        fields = line.split()
        address = ipaddress.IPv4Address(bytes.fromhex(fields[1])[::-1])
        mask = ipaddress.IPv4Address(bytes.fromhex(fields[7])[::-1])
        if int(mask):  # the default route leads everywhere
            found.append(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    return found
