"""File stores with one bug each, which the crash-state explorer must find."""

import msgspec

from axiom_persistence.adapters._file.edits import Staged
from axiom_persistence.adapters._file.names import PREVIOUS, file_name
from axiom_persistence.adapters._file.place import JOURNAL
from axiom_persistence.adapters._file.tree import FileTree
from axiom_persistence.adapters.file import FileStorageAdapter


class WithoutFileSync(FileTree):
    """Renames data that may still be in memory only."""

    def sync(self, handle):
        pass


class WithoutDirectorySync(FileTree):
    """Forgets that a rename is a change of the directory."""

    def sync_directory(self, folder):
        pass


class WithoutParentSync(FileTree):
    """Syncs the directory of the file, but not the one that a new directory is an entry of."""

    def _sync_directories(self, loose):
        deepest = {folder for folder in loose.directories if "/" in folder} or {*loose.directories}
        loose.directories.clear()
        loose.directories |= {folder for folder in deepest if folder} or deepest
        super()._sync_directories(loose)


class InPlace(FileTree):
    """Writes the new value over the old one."""

    def _stage(self, edits, durable, loose):
        return Staged(edits, durable, loose)

    def _install_one(self, key, edit, staged):
        if edit.data is None:
            super()._install_one(key, edit, staged)
            return
        try:
            handle = self.files.open(file_name(key), write=True, create=True)
        except FileNotFoundError:
            self._make_directories(file_name(key).rpartition("/")[0], staged.loose)
            handle = self.files.open(file_name(key), write=True, create=True)
        self.files.write(handle, edit.data)
        self.sync(handle)
        self.files.close(handle)
        staged.loose.touch(file_name(key).rpartition("/")[0], durable=staged.durable)


class AcknowledgedBeforeSync(FileTree):
    """Syncs one commit when the next one comes."""

    def stage(self, edits, *, durable):
        self.flush()
        return super().stage(edits, durable=False)


class JournalWithoutChecksum(FileTree):
    """Believes whatever can be parsed."""

    @staticmethod
    def decode_journal(data):
        try:
            return dict(msgspec.msgpack.decode(data.partition(b"\n")[2], type=list[tuple[str, bytes | None]]))
        except msgspec.DecodeError:
            return None


class JournalClearedBeforeApply(FileTree):
    """Removes the journal before what it describes has happened."""

    def _install(self, staged, *, atomic):
        if atomic and self._journal() is not None:
            super()._clear_journal(durable=True)
        super()._install(staged, atomic=atomic)

    def _clear_journal(self, *, durable):
        if self._journal() is not None:
            super()._clear_journal(durable=durable)


class JournalNotSynced(FileTree):
    """Begins to apply a commit that is nowhere on the medium yet."""

    def _write_journal(self, staged):
        staged.durable = False
        super()._write_journal(staged)
        staged.durable = True


class JournalClearingNotSynced(FileTree):
    """Lets a journal come back and undo the commits after it."""

    def _clear_journal(self, *, durable):
        self.files.unlink(JOURNAL)


class WithoutJournal(FileTree):
    """Applies a commit of several keys one after the other."""

    def apply(self, staged, *, atomic):
        super().apply(staged, atomic=False)


class RetriedSync(FileTree):
    """Takes the second answer of a sync that failed: the kernel has forgotten the pages by then."""

    def sync(self, handle):
        try:
            self.files.sync(handle)
        except OSError:
            self.files.sync(handle)

    def sync_directory(self, folder):
        try:
            self.files.sync_directory(folder)
        except OSError:
            self.files.sync_directory(folder)


class RevivingTree(FileTree):
    """Gives a new value the generation before the deletion as its previous one."""

    def _forget_previous(self, name):
        pass

    def walk(self, folder):
        """Nothing is cleaned up that nobody sees."""
        for name, entry in super().walk(folder):
            if not name.endswith(PREVIOUS):
                yield name, entry


class ReliesOnNothing(FileTree):
    """Syncs what it wrote itself, and not what another wrote that it found."""

    def rely_on(self, keys):
        pass


def planted(tree):
    """An adapter with this bug."""
    return type(f"{tree.__name__}Adapter", (FileStorageAdapter,), {"tree_class": tree})
