"""The web process: pages, API and live sockets."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

pages = get_asgi_application()

from webapp.live.routing import sockets  # noqa: E402  the apps must be loaded first

application = ProtocolTypeRouter({"http": pages, "websocket": sockets})
