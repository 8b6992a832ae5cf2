"""The processes of this host."""

from __future__ import annotations

import os
import socket


def is_alive(host: str, pid: int) -> bool | None:
    """Whether the process is there; None for another host's, which cannot be asked."""
    if host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True
