"""Network file systems are told from local ones."""

import pytest

from axiom_persistence.platform import mounts

TABLE = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:50 / /home rw shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:51 / /home/me/with\040space rw - tmpfs tmpfs rw
32 22 0:52 / /mnt/a rw - fuse.sshfs me@host: rw
33 22 0:53 / /mnt/b rw - fuse.mergerfs x rw
34 22 0:54 / /mnt/c rw - tmpfs tmpfs rw
35 22 0:55 / /mnt/c rw - cifs //host/share rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/homework/x", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/x.db", "nfs4", True),
        ("/home/me/with space/x.db", "tmpfs", False),
        ("/mnt/a/x", "fuse.sshfs", True),
        ("/mnt/b/x", "fuse.mergerfs", False),
        ("/mnt/c/x", "cifs", True),
    ],
)
def test_the_deepest_mount_decides(monkeypatch, path, kind, network):
    """The type is that of the file system a path lies on, the last mounted where several are."""
    assert mounts._type_of(path, TABLE) == kind
    monkeypatch.setattr(mounts, "file_system_type", lambda path: mounts._type_of(path, TABLE))
    assert mounts.is_network(path) is network


def test_this_machine_is_read(tmp_path):
    """A real path has a type where the system tells, and a temporary directory is local."""
    kind = mounts.file_system_type(str(tmp_path))
    assert kind is None or kind
    assert not mounts.is_network(str(tmp_path))


def test_not_knowing_is_not_a_network(monkeypatch):
    """Where the system does not tell, nothing is refused."""
    monkeypatch.setattr(mounts, "file_system_type", lambda path: None)
    assert not mounts.is_network("/anything")
