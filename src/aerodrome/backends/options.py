"""`Component.unread` in a file per component, which its processes read when they start and when they fork.

It lies sealed under a key that the component has among its variables (`aerodrome_airflow.options` opens it).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from aerodrome.backends.users import User
from aerodrome.domain.component import OPTIONS_KEY, Component
from aerodrome.errors import Permanent
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.vault import DataKey

_CONTEXT = "options"


class OptionFiles:
    """What they hold may be secret: the environment's user can read them, and nobody else.

    All but `holds` block.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held: dict[tuple[str, str], dict[str, str]] = {}  # environment, component -> what we wrote or found

    def holds(self, environment_id: str, component: Component) -> bool:
        """Whether we know that the file says what the component does."""
        return self._held.get((environment_id, component.name)) == component.unread

    def write(self, environment_id: str, component: Component, user: User) -> None:
        """Before the component is started: also mends the file's owner and mode.

        Raises:
            Permanent: the component has no key to seal them under.
        """
        path = self.path(environment_id, component.name)
        owner = None if user.gid is None else (0, user.gid)
        write_file(path, _key(component).seal(_text(component), _CONTEXT), 0o600 if owner is None else 0o640, owner)
        self._held[environment_id, component.name] = dict(component.unread)

    def bring(self, environment_id: str, component: Component, user: User) -> None:
        """For one that runs: an equal file is left alone, so that nothing reads it again."""
        try:
            text = _key(component).open(self.path(environment_id, component.name).read_bytes(), _CONTEXT)
        except (OSError, Permanent):
            text = b""
        if text == _text(component):
            self._held[environment_id, component.name] = dict(component.unread)
        else:
            self.write(environment_id, component, user)

    def drop(self, environment_id: str, name: str) -> None:
        """The component is gone."""
        self._held.pop((environment_id, name), None)
        self.path(environment_id, name).unlink(missing_ok=True)

    def forget(self, environment_id: str) -> None:
        """The environment's files are removed with its directory."""
        self._held = {key: held for key, held in self._held.items() if key[0] != environment_id}

    def path(self, environment_id: str, name: str) -> Path:
        return self._layout.options(environment_id) / f"{name}.sealed"


def _text(component: Component) -> bytes:
    return json.dumps(dict(component.unread), sort_keys=True).encode()


def _key(component: Component) -> DataKey:
    if OPTIONS_KEY not in component.secrets:
        raise Permanent(f"{component.name} has options for its tasks and no {OPTIONS_KEY} to seal them under.")
    return DataKey(base64.urlsafe_b64decode(component.secrets[OPTIONS_KEY]))
