"""Which kind of file system a path lies on, as far as the operating system tells."""

from __future__ import annotations

import os
import re
import sys
from typing import Final

__all__ = ["file_system_type", "is_network"]

_NETWORK: Final = frozenset(
    {
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "efs", "gfs2", "glusterfs",
        "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs",
        "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip
"""Types whose pages and locks several machines share: memory mapped by one is not seen by another."""

_NETWORK_FUSE: Final = (
    "ceph",
    "davfs",
    "gcsfuse",
    "gluster",
    "rclone",
    "s3fs",
    "smbnetfs",
    "sshfs",
    "vmhgfs",
)


def file_system_type(path: str) -> str | None:
    """The type of the file system that holds ``path`` (or would), such as "ext4". None: not known.

    Read from ``/proc/self/mountinfo``, so known on Linux only.
    """
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return _type_of(os.path.realpath(path), file.read())
    except OSError:
        return None


def is_network(path: str) -> bool:
    """Whether ``path`` lies on a file system that other machines may write. Unknown counts as no."""
    if sys.platform == "win32":
        return os.path.realpath(path).startswith(("\\\\", "//"))
    kind = file_system_type(path)
    if kind is None:
        return False
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.").startswith(_NETWORK_FUSE)
    return kind in _NETWORK


def _type_of(path: str, mountinfo: str) -> str | None:
    """The type of the deepest mount above ``path``; of several on one point the last is on top."""
    best, kind = -1, None
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not source:
            continue
        point = fields[4]
        if "\\" in point:  # seldom: so the pattern is not compiled at every start
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
        above = path == point or point == "/" or path.startswith(point + "/")
        if above and len(point) >= best:
            best, kind = len(point), source.split(" ", 1)[0]
    return kind
