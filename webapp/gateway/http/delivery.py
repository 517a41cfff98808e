"""Did the other side's kernel take any byte of the request? Only if it surely did not may the request be sent again.

A pooled connection can be closed by the engine at the very moment a request is written to it. The same end of file
is seen when the engine read the request, began to generate and died. TCP tells the two apart: the engine's FIN
carries an acknowledgement of everything its kernel had accepted, so if nothing of this request is acknowledged, the
engine cannot have seen it. (A reset carries no such promise and counts as delivered.)
"""

import os
import socket
import struct

_TCP_INFO_BYTES = 192
_BYTES_ACKED_AT = 120  # struct tcp_info, linux/tcp.h: tcpi_bytes_acked, since Linux 4.1


def nothing_arrived(descriptor: int, bytes_sent_before: int) -> bool:
    """True only with proof. `bytes_sent_before`: what earlier requests wrote to this connection."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as probe:
            if probe.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            info = probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return False
    if len(info) < _BYTES_ACKED_AT + 8:
        return False
    (acknowledged,) = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)
    # The SYN counts as one acknowledged byte.
    return bool(acknowledged <= bytes_sent_before + 1)
