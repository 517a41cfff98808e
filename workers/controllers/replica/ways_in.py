"""How a replica's engine is reached: by a socket of its own, one that a forwarder offers, or an address."""

from pathlib import Path

from webapp import engines
from webapp.deployments.lifecycle import Reason
from webapp.deployments.models import Replica
from webapp.engines.base import HardwareAllocation
from webapp.foundation import paths
from webapp.inventory import services as inventory
from workers.hosts import sockets
from workers.runtime import specs
from workers.runtime.base import ContainerFacts, ImageMissing, NameTaken, Runtime

FORWARDER = "forwarder"
NO_FORWARDER = Reason(
    "image_missing",
    f"This engine answers through a forwarder, and the host has no image {specs.FORWARDER_IMAGES[0]} for it.",
    f"`make run` builds it; elsewhere: docker pull {specs.FORWARDER_IMAGES[1]}",
)


def prepare(replica: Replica, grant: HardwareAllocation) -> specs.WayIn:
    """What the engine's container is given: the folder of its socket, which is made now, or its address."""
    if not replica.socket:
        return specs.WayIn(address=replica.address)
    folder, user = Path(replica.socket).parent, sockets.container_user()
    sockets.make(folder, user)
    # With a forwarder the engine itself gets nothing of ours, not even the folder.
    return specs.WayIn(user=user) if needs_forwarder(replica, grant) else specs.WayIn(str(folder), user)


def needs_forwarder(replica: Replica, grant: HardwareAllocation) -> bool:
    """Its engine has no option for it, or runs as a user of its image's, whose socket would not open to us."""
    takes_socket = engines.get(replica.contents.engine).takes_socket and specs.engine_user(grant) != ""
    return bool(replica.socket) and not takes_socket


def ensure_forwarder(runtime: Runtime, replica: Replica, engine_id: str) -> None:
    """Have the forwarder of a running engine run.

    Raises ContainerMissing when the engine is gone, ImageMissing, StartRefused, HostUnreachable.
    """
    image = next((image for image in specs.FORWARDER_IMAGES if runtime.find_image(image)), None)
    if image is None:
        raise ImageMissing(specs.FORWARDER_IMAGES[0])
    installation = str(inventory.installation().pk)
    spec = specs.forwarder_container(
        name=f"{replica.container_name}-{FORWARDER}",
        image=image,
        who=specs.labels(installation, FORWARDER, replica.pk, replica.generation, replica.attempt),
        engine_id=engine_id,
        port=replica.port,
        folder=str(Path(replica.socket).parent),
        user=sockets.container_user(),
    )
    try:
        forwarder_id = runtime.create(spec)
    except NameTaken:
        forwarder_id = runtime.inspect(spec.name).id
    runtime.start(forwarder_id)


def address_of(replica: Replica, container: ContainerFacts) -> str:
    """Where this container of the replica answers."""
    if container.address or not replica.socket:
        return container.address or replica.address
    return str(paths.engine_socket(replica.pk, container.generation, container.attempt))


def remove(runtime: Runtime, replica: Replica, container: ContainerFacts) -> None:
    """What stood beside a container that was removed now: its forwarder and the folder of its socket."""
    address = address_of(replica, container)
    if address.startswith("/"):
        runtime.remove(f"{container.name}-{FORWARDER}")
        sockets.remove(address)
