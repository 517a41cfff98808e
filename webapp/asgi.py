"""The web process: pages, API and live sockets."""

import os
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

pages = get_asgi_application()

# The apps must be loaded first.
from webapp.foundation.body_limit import BodyLimit  # noqa: E402
from webapp.interfaces.internal.polls import Polls  # noqa: E402
from webapp.interfaces.live.routing import sockets  # noqa: E402
from webapp.operations.sessions_secret import RenewedSecret  # noqa: E402
from webapp.operations.starting import Starting  # noqa: E402

protocols = cast(Any, ProtocolTypeRouter({"http": BodyLimit(Polls(pages)), "websocket": sockets}))
application = Starting(RenewedSecret(protocols))
