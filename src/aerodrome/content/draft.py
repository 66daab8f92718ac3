"""A version of a folder in the making: what was fetched so far, made to follow one listing after the other."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aerodrome.content.folder import VersionedFolder, make_parents, publish
from aerodrome.content.keys import Listed
from aerodrome.content.s3 import S3, Unreadable, download

_DOWNLOADS = 4  # at once, per environment


class Draft:
    """The new version in the directory `new`: what is unchanged comes from the version in place, the rest from S3.

    `files` says what it holds: of a download that is what came, which may be newer than the listing that led to it.
    All calls block.
    """

    def __init__(self, folder: VersionedFolder, new: Path, previous: Mapping[str, Listed], bucket: str, s3: S3) -> None:
        self.files: dict[str, Listed] = {}
        self._folder = folder
        self._new = new
        self._previous = previous
        self._bucket = bucket
        self._s3 = s3
        self._fetched: set[str] = set()
        self._unreadable: dict[str, tuple[Listed, str]] = {}  # path -> the object as it was listed, and why

    @property
    def warnings(self) -> list[str]:
        """Why objects that were listed can't be read. What is in place of such a file is kept."""
        return [why for _, why in self._unreadable.values()]

    def is_as(self, wanted: Mapping[str, Listed]) -> bool:
        """Whether the listing names exactly what is here, but for what can't be read."""
        refused = {path: item for path, (item, _) in self._unreadable.items()}
        return {**self.files, **refused} == wanted

    def follow(self, wanted: Mapping[str, Listed]) -> None:
        """Make it what the listing names. An object that is gone by now is left out.

        Raises:
            Permanent, Temporary: S3 refuses, or is away.
            OSError: the disk is full, say.
        """
        self._unreadable = {path: known for path, known in self._unreadable.items() if wanted.get(path) == known[0]}
        for path in [*self.files]:
            if path not in self._unreadable and wanted.get(path) != self.files[path]:
                self._drop(path)
        missing = wanted.keys() - self.files.keys() - self._unreadable.keys()
        kept = {path for path in missing if self._previous.get(path) == wanted[path]}
        self.files |= {path: wanted[path] for path in kept}
        self._fetch({path: wanted[path] for path in sorted(missing - kept)})

    def finish(self) -> list[str]:
        """Put what is kept beside what was downloaded; the paths of what was downloaded.

        Raises:
            as `follow`
        """
        kept = self.files.keys() - self._fetched
        lost = {path for path in kept if not self._folder.keep(self._new, path, self.files[path].size)}
        self._fetch({path: self.files.pop(path) for path in sorted(lost)})
        for path in lost - self._fetched:  # nor can it be read any more
            self.files.pop(path, None)
        for path in self._fetched:
            publish(self._new / path)
        return sorted(self._fetched)

    def _drop(self, path: str) -> None:
        del self.files[path]
        if path not in self._fetched:
            return
        self._fetched.remove(path)
        (self._new / path).unlink()
        for parent in Path(path).parents[:-1]:  # a file may be wanted where a directory was
            try:
                (self._new / parent).rmdir()
            except OSError:  # others are in it
                break

    def _fetch(self, objects: Mapping[str, Listed]) -> None:
        for path in objects:
            make_parents(self._new, path)

        def one(path: str) -> Listed | str | None:
            try:
                return download(self._s3, self._bucket, objects[path].key, self._new / path)
            except Unreadable as error:
                return str(error)

        with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="content-download") as pool:
            answers = dict(zip(objects, pool.map(one, objects), strict=True))
        for path, answer in answers.items():
            if isinstance(answer, Listed):
                self.files[path] = answer
                self._fetched.add(path)
            elif isinstance(answer, str):
                self._unreadable[path] = (objects[path], answer)
                if path in self._previous:
                    self.files[path] = self._previous[path]
