"""`python -m webapp.operations.ask "/readyz?part=worker"`: exit status 0 when web says 200. For health checks of
containers; the standard library alone, as it is run every few seconds."""

import http.client
import os
import socket
import sys
from urllib.parse import urlsplit

from webapp.foundation import paths

TIMEOUT_S = 5


class _Private(http.client.HTTPConnection):
    """HTTP to web's private socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(paths.web_socket()))


def main(path: str) -> int:
    host = urlsplit(os.environ.get("MODELYARD_URL") or "http://127.0.0.1:8000").netloc
    connection = _Private("localhost", timeout=TIMEOUT_S)
    try:
        # As the gateway would say it: an https site redirects what came by http.
        connection.request("GET", path, headers={"Host": host, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        print(answer.read(500).decode(errors="replace"))
    except OSError as error:
        print(f"web does not answer: {error}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
