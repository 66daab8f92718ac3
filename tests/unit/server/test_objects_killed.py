"""A control plane that is killed at any line that changes the disk: the next one goes on, and it comes out the same."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from aerodrome.backends import directories
from aerodrome.content import fetch, startup
from aerodrome.content import unpack as unpacking
from aerodrome.domain.environment import Environment
from aerodrome.domain.products import Part
from aerodrome.runtimes import extend
from aerodrome.runtimes.resolve import Resolution
from aerodrome.server import objects, requirements
from support.making import House, Uv, versioned, zipped
from support.reconciling import Killed

# Every line that changes the disk, by what it calls.
LINES: list[tuple[ModuleType, str]] = [
    (directories, "prepare"),
    (fetch, "_download"),
    (fetch, "sync_directory"),
    (unpacking, "write_file"),
    (unpacking, "put_in_place"),
    (startup, "run"),
    (requirements, "_mark"),
    (extend, "ensure"),
    (objects, "write_file"),
    (objects, "remove_tree"),
    (extend, "remove"),
]


class Switch:
    """Kills at the call of that number, before or after it did its work."""

    def __init__(self, patch: pytest.MonkeyPatch, target: ModuleType, name: str) -> None:
        self.calls, self.at, self.after = 0, -1, False
        function = getattr(target, name)

        def begin() -> bool:
            self.calls += 1
            if self.calls - 1 == self.at and not self.after:
                raise Killed
            return self.calls - 1 == self.at

        def change(*given: Any, **named: Any) -> Any:
            dies = begin()
            result = function(*given, **named)
            if dies:
                raise Killed
            return result

        async def change_later(*given: Any, **named: Any) -> Any:
            dies = begin()
            result = await function(*given, **named)
            if dies:
                raise Killed
            return result

        patch.setattr(target, name, change_later if inspect.iscoroutinefunction(function) else change)


@dataclass
class Life:
    """Everything is made, then other versions of it, then what is unused goes, then all goes."""

    house: House
    uv: Uv
    row: Environment

    def __post_init__(self) -> None:
        house = self.house
        for version in ("1", "2"):
            house.put(Part.PLUGINS, zipped({f"plugin_{version}.py": "x = 1\n"}), version)
            house.put(Part.STARTUP, f"echo ran\nexport V={version}\n".encode(), version)
            house.put(Part.REQUIREMENTS, f"cowsay==6.{version}\n".encode(), version)

    async def make(self, version: str) -> None:
        self.uv.resolution = Resolution({"cowsay": f"6.{version}"}, {}, f"cowsay==6.{version}\n")
        for part in Part:
            self.row = await self.house.kept(versioned(self.row, part, version), part)

    async def tidy(self) -> None:
        """As often as it takes: also what a killed removal left."""
        for _ in range(3):
            await self.house.objects.tidy(self.row)
            self.house.seconds += 150

    async def drop(self) -> None:
        await self.house.objects.drop(self.row.id)

    def phases(self) -> list[Callable[[], Awaitable[None]]]:
        return [lambda: self.make("1"), lambda: self.make("2"), self.tidy, self.drop]

    def there(self) -> dict[str, list[str]]:
        """Rubbish included."""
        layout, id_ = self.house.layout, self.row.id
        folders = {
            "objects": layout.objects(id_),
            "plugins": layout.plugins(id_),
            "marks": layout.own_runtimes(id_),
            "runtimes": layout.runtimes,
        }
        return {name: sorted(path.name for path in folder.iterdir()) for name, folder in folders.items()}

    async def live(self) -> list[tuple[dict[str, list[str]], list[str]]]:
        """What there is after each phase; a phase that was killed is begun again by the next control plane."""
        found = list[tuple[dict[str, list[str]], list[str]]]()
        for phase in self.phases():
            try:
                await phase()
            except Killed:
                self.house.start()
                await phase()
            found.append((self.there(), sorted(self.row.made)))
        return found


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("target", "name"), LINES, ids=lambda each: getattr(each, "__name__", each))
async def test_a_kill_at_every_line_makes_no_difference(
    house: House,
    uv: Uv,
    made: Environment,
    monkeypatch: pytest.MonkeyPatch,
    target: ModuleType,
    name: str,
    after: bool,
) -> None:
    switch = Switch(monkeypatch, target, name)
    expected = await Life(house, uv, made).live()
    calls = switch.calls
    assert calls > 0
    assert expected[-1][0] == {"objects": [], "plugins": [], "marks": [], "runtimes": []}
    for number in range(calls):
        house.start()
        switch.calls, switch.at, switch.after = 0, number, after
        found = await Life(house, uv, made).live()
        assert switch.calls > number, "it was killed"
        assert found == expected, f"after a kill at call {number}"
