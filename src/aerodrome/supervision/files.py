"""Where supervision keeps its files below `layout.run`."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.supervision.opening import opened, sealed, writing


@dataclass(frozen=True, slots=True)
class Meta:
    """What must be known of a program when Supervisor isn't there to say it."""

    digest: str  # of everything that was asked for
    job: bool
    stop_signal: str
    stop_wait: float
    priority: int


@dataclass(frozen=True, slots=True)
class Files:
    """The files of supervision: one of each kind per program."""

    run: Path

    @classmethod
    def of(cls, layout: Layout) -> Files:
        return cls(layout.run)

    @property
    def _layout(self) -> Layout:
        return Layout(self.run.parent)

    @property
    def lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def config(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def pid(self) -> Path:
        return self.run / "supervisord.pid"

    @property
    def records(self) -> Path:
        """One file per process started: its line of /proc/PID/stat and the boot id."""
        return self.run / "pids"

    def ini(self, name: str) -> Path:
        return self.run / "conf.d" / f"{name}.ini"

    def launch(self, name: str) -> Path:
        return self.run / "launch" / f"{name}.sh"

    def variables(self, name: str) -> Path:
        """The environment of the program, secrets included: sealed, see `opening`."""
        return self.run / "launch" / f"{name}.env"

    def meta(self, name: str) -> Path:
        return self.run / "programs" / f"{name}.json"

    def record(self, name: str) -> Path:
        return self.records / name

    def starts(self, name: str) -> Path:
        return self.run / "starts" / name

    def result(self, name: str) -> Path:
        return self.run / "results" / name

    def prepare(self) -> None:
        """Make the directories: ours alone, but others may pass through `run` to sockets of their own."""
        self.run.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for name in ("conf.d", "launch", "programs", "pids", "starts", "results"):
            (self.run / name).mkdir(mode=0o700, exist_ok=True)

    def names(self) -> list[str]:
        """Every program that was put and not discarded."""
        return sorted(path.stem for path in (self.run / "programs").glob("*.json"))

    def read_meta(self, name: str) -> Meta | None:
        try:
            return Meta(**json.loads(self.meta(name).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def write_meta(self, name: str, meta: Meta) -> None:
        write_file(self.meta(name), json.dumps(asdict(meta)))

    def write_variables(self, name: str, variables: str) -> None:
        with writing(self._layout):
            write_file(self.variables(name), sealed(self._layout, name, variables))

    def is_whole(self, name: str) -> bool:
        """Whether the files that start the program are those that were put."""
        meta = self.read_meta(name)
        try:
            variables = opened(self._layout, name, self.variables(name).read_bytes())
            texts = [variables, *(path.read_text() for path in (self.launch(name), self.ini(name)))]
        except (OSError, UnicodeDecodeError, Permanent):
            return False
        return meta is not None and meta.digest == digest(*texts)

    def read_result(self, name: str) -> int | None:
        try:
            return int(self.result(name).read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def count_starts(self, name: str, seconds: float = 3600) -> int:
        """Starts within the last `seconds`, by the supervisord that runs: what an earlier one did says nothing now."""
        try:
            lines = self.starts(name).read_text().split()
            since = max(time.time() - seconds, int(self.pid.stat().st_mtime))
        except FileNotFoundError:
            return 0
        return sum(1 for line in lines if line.isdigit() and int(line) >= since)

    def drop(self, name: str) -> None:
        """Forget all files of a program, what would start it again first."""
        for path in (self.ini(name), self.launch(name), self.variables(name), self.result(name), self.starts(name)):
            path.unlink(missing_ok=True)
        self.record(name).unlink(missing_ok=True)
        for path in (self.record(name), self.starts(name)):  # of a start that was killed as it wrote them
            path.with_name(f".{name}.new").unlink(missing_ok=True)
        self.meta(name).unlink(missing_ok=True)


def digest(*texts: str) -> str:
    """Of the texts that start a program, in the order of `Supervisor._texts`."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
