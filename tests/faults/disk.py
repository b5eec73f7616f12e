"""A disk whose power goes: what was synced is there, of the rest nobody knows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

Files = dict[Path, bytes]


@dataclass
class Disk:
    """What was done to the files of a folder, in its order, and what a crash would leave of it.

    Bytes are on the disk once their file is synced, names, of folders too, once the folder is that
    they are in. What was not synced may have got there all the same, or in half.

    Attributes:
        root: the folder.
        before: its files when the record began.
        folders: those that were there then.
        acts: every sync and every rename since.
    """

    root: Path
    before: Files
    folders: frozenset[Path]
    acts: list[tuple[str, Path, Path, bytes]] = field(default_factory=list)

    def crashes(self) -> Iterator[tuple[str, Files]]:
        """Yield what is left after a crash at each moment, and a name of it."""
        for count in range(len(self.acts) + 1):
            for eager in (True, False):
                yield f"{count} of {len(self.acts)}, {eager=}", self._left(count, eager)

    def _left(self, count: int, eager: bool) -> Files:
        """Return the files after so many acts.

        Args:
            count: of the acts.
            eager: whether names are written at once, ahead of bytes that nobody has synced.
        """
        files, synced, waiting = dict(self.before), dict(self.before), list[tuple[Path, Path]]()

        def rename(old: Path, new: Path) -> None:
            files[new] = files.pop(old)

        for act, path, target, data in self.acts[:count]:
            if act == "bytes":
                files[path] = synced[path] = data
            elif act == "rename":
                if path not in synced:
                    files[path] = data[: len(data) // 2]
                synced[target] = synced.pop(path, files[path])
                waiting.append((path, target))
                if eager:
                    rename(*waiting.pop())
            else:
                due = [one for one in waiting if one[1].parent == path]
                waiting = [one for one in waiting if one not in due]
                for one in due:
                    rename(*one)
        if eager:
            return files
        named = {path for act, path, *_ in self.acts[:count] if act == "names"}
        there = {path: self._is_named(path, named) for path in files}
        return {path: data for path, data in files.items() if there[path]}

    def _is_named(self, path: Path, named: set[Path]) -> bool:
        """Whether every folder that a file is in can be found after a crash."""
        return all(one in self.folders or one.parent in named for one in path.parents)


def lay_out(files: Files, folder: Path) -> Path:
    """Write files as a crash has left them."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@contextmanager
def recorded(root: Path) -> Iterator[Disk]:
    """Record what is synced and renamed under a folder in the block."""
    before = {one.relative_to(root): one.read_bytes() for one in root.rglob("*") if one.is_file()}
    folders = (one.relative_to(root) for one in (root, *root.rglob("*")) if one.is_dir())
    disk = Disk(root, before, frozenset(folders))
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        fsync(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_relative_to(root):
            data = b"" if path.is_dir() else path.read_bytes()
            act = "names" if path.is_dir() else "bytes"
            disk.acts.append((act, path.relative_to(root), Path(), data))

    def replaced(path: Path, target: Path) -> Path:
        data = path.read_bytes()
        disk.acts.append(("rename", path.relative_to(root), target.relative_to(root), data))
        return replace(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(Path, "replace", replaced)
        yield disk
