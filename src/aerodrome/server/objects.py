"""What is made of plugins.zip, startup scripts and requirements.txt: the reconciler's `Objects`, of the real parts.

Below `content/` of an environment: the objects as they were fetched, each version a file (texts are sealed); a folder
for each plugins.zip that there was; a mark for each runtime of its own. All is made beside, put in place whole, and
removed when no process of the environment can be using it any more.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex

from aerodrome.backends import confinement, directories, users
from aerodrome.backends.users import User
from aerodrome.content.archive import MAX_BYTES, amount
from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.fetch import fetch
from aerodrome.content.loop import session_name
from aerodrome.content.s3 import ClientFactory, StaleCredentials
from aerodrome.content.unpack import is_there, unpack
from aerodrome.content.unpack import remove as remove_tree
from aerodrome.domain import products
from aerodrome.domain.environment import Environment
from aerodrome.domain.products import Part, Product, Source
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout
from aerodrome.reconcile.ports import Made, Making
from aerodrome.runtimes import extend
from aerodrome.runtimes.key import is_ready
from aerodrome.runtimes.soundness import Soundness
from aerodrome.server import requirements, scripts
from aerodrome.server.errands import Errands, Progress
from aerodrome.server.world import RuntimePlanner
from aerodrome.threads import to_its_end
from aerodrome.vault import DataKey

_TEXT_BYTES = 10 << 20  # of a requirements.txt or a startup script
# Commands of Airflow's CLI are no components: what nothing uses is left to them as long as one may take, and longer.
_LINGER = 120.0  # seconds


class BucketObjects:
    """Implements `reconcile.ports.Objects`. `clock` is monotonic, in seconds.

    `confined`: what runs a user's code sees its own environment alone.
    """

    def __init__(
        self,
        layout: Layout,
        installation_id: str,
        planner: RuntimePlanner,
        credentials: RoleCredentials,
        client_factory: ClientFactory,
        clock: Callable[[], float] = time.monotonic,
        *,
        confined: bool = False,
    ) -> None:
        self._confined = confined
        self._layout = layout
        self._installation_id = installation_id
        self._planner = planner
        self._credentials = credentials
        self._client_factory = client_factory
        self._clock = clock
        self._soundness = Soundness(layout)
        self._errands = Errands()
        self._unused: dict[Path, float] = {}  # since when

    async def make(
        self, environment: Environment, secrets: EnvironmentSecrets, part: Part, *, suspicious: bool = False
    ) -> Making | Made:
        """As `Objects`."""
        base = environment.runtime or self._planner.runtime(environment.desired["AirflowVersion"])
        recipe = products.recipe(environment, part, base)
        assert recipe is not None, "only asked for of an environment that names one"  # noqa: S101
        product = environment.made.get(recipe)
        idle = not self._errands.runs(environment.id, recipe)
        if (
            product is not None
            and idle
            and await self._is_there(environment.id, part, product, base, suspicious=suspicious)
        ):
            return Made(product)
        work = {
            Part.PLUGINS: partial(self._unpack, environment, secrets),
            Part.STARTUP: partial(self._run_script, environment, secrets, base),
            Part.REQUIREMENTS: partial(self._install, environment, secrets, base, product),
        }
        return await self._errands.ask(environment.id, recipe, work[part])

    async def tidy(self, environment: Environment) -> None:
        """As `Objects`. What isn't used is removed at a later look, `_LINGER` seconds after it was found so."""
        if self._errands.is_busy(environment.id):
            return
        used = set[Path]()
        for part in Part:
            if (found := products.source(environment, part)) is not None:
                used.add(self._layout.objects(environment.id) / found.id)
        for product in products.in_use(environment).values():
            if "tree" in product:
                used.add(self._layout.plugins(environment.id) / product["tree"])
            if "runtime" in product:
                used.add(self._layout.own_runtimes(environment.id) / product["runtime"])
        await to_its_end(self._tidy, environment.id, used)

    async def drop(self, environment_id: str) -> None:
        """As `Objects`."""
        await self._errands.stop(environment_id)
        await to_its_end(self._drop, environment_id)

    async def close(self) -> None:
        """End what is being made; it is begun again by the next control plane."""
        await self._errands.close()

    async def _is_there(
        self, environment_id: str, part: Part, product: Product, base: str, *, suspicious: bool
    ) -> bool:
        if part is Part.PLUGINS:
            folder = self._layout.plugins(environment_id)
            return await asyncio.to_thread(is_there, folder, product["tree"], look_closely=suspicious)
        if part is Part.REQUIREMENTS and product["runtime"] != base:
            key = product["runtime"]
            return is_ready(self._layout, key) and await self._soundness.damage(key, suspicious=suspicious) is None
        return True

    async def _unpack(self, environment: Environment, secrets: EnvironmentSecrets, progress: Progress) -> Made:
        async with self._fetched(environment, secrets, Part.PLUGINS, progress) as (archive, name):
            with progress.phase("unpack", f"Unpacking {name}"):
                folder = self._layout.plugins(environment.id)
                await to_its_end(ensure_directory, folder, 0o755)
                tree = await to_its_end(unpack, archive, folder, name)
        return Made({"tree": tree.digest}, f"{name}: {tree.files} files, {amount(tree.size)}", progress.took)

    async def _run_script(
        self, environment: Environment, secrets: EnvironmentSecrets, base: str, progress: Progress
    ) -> Made:
        async with self._fetched(environment, secrets, Part.STARTUP, progress) as (path, _):
            user = await self._user(environment.id)
            variables = self._planner.script_variables(environment, secrets)
            runtime = self._layout.runtime(base)
            sandbox = None
            if self._confined:
                tree = products.content(environment, base).plugins
                plugins = self._layout.plugins(environment.id) / tree if tree else None
                sandbox = await asyncio.to_thread(confinement.sandbox, self._layout, environment.id, runtime, plugins)
            place = scripts.Place(self._layout, environment.id, user, runtime / "bin", sandbox)
            return await scripts.run(place, path, variables, progress)

    async def _install(
        self,
        environment: Environment,
        secrets: EnvironmentSecrets,
        base: str,
        product: Product | None,
        progress: Progress,
    ) -> Made:
        async with self._fetched(environment, secrets, Part.REQUIREMENTS, progress) as (path, name):
            user = await self._user(environment.id)
            content = products.content(environment, base)
            reader = extend.Reader(user.uid, user.gid, self._confined)
            place = requirements.Place(self._layout, environment.id, reader, base, content)
            return await requirements.install(place, path, name, product, progress)

    @asynccontextmanager
    async def _fetched(
        self, environment: Environment, secrets: EnvironmentSecrets, part: Part, progress: Progress
    ) -> AsyncIterator[tuple[Path, str]]:
        """The object as a file, fetched unless it is there, and what messages call it.

        Startup scripts and requirements hold passwords at times: what stays of them is sealed, and a file that can be
        read is there while it is worked with.
        """
        source = products.source(environment, part)
        assert source is not None  # noqa: S101  as in `make`
        kept, name = self._layout.objects(environment.id) / source.id, source.key.rpartition("/")[2]
        if part is Part.PLUGINS:
            if not kept.exists():
                await self._fetch(environment, source, kept, progress, MAX_BYTES)
            yield kept, name
            return
        user = await self._user(environment.id)
        access = (0o640, user.gid) if part is Part.STARTUP else (0o600, None)
        key = DataKey(hmac.digest(secrets.fernet_key.encode(), b"aerodrome objects", "sha256"))
        plain = kept.with_name(f".{source.id}.{token_hex(4)}")
        try:
            if not await to_its_end(_opened, key, kept, plain, *access):
                await self._fetch(environment, source, plain, progress, _TEXT_BYTES, *access)
                await to_its_end(lambda: write_file(kept, key.seal(plain.read_bytes(), source.id)))
            yield plain, name
        finally:
            await to_its_end(partial(plain.unlink, missing_ok=True))

    async def _fetch(
        self,
        environment: Environment,
        source: Source,
        target: Path,
        progress: Progress,
        most: int,
        mode: int = 0o600,
        group: int | None = None,
    ) -> None:
        with progress.phase("fetch", f"Fetching {source.key} from {source.bucket}"):
            await self._user(environment.id)
            await to_its_end(ensure_directory, target.parent, 0o755)
            role, session = environment.desired["ExecutionRoleArn"], session_name(environment.id)
            credentials = await self._credentials.get(role, session, source_arn=environment.key.arn)
            client = await asyncio.to_thread(self._client_factory, credentials, environment.key.region)
            try:
                await to_its_end(fetch, client, source, target, most, mode, group)
            except StaleCredentials:
                self._credentials.forget(role, session)
                raise
            finally:
                client.close()

    async def _user(self, environment_id: str) -> User:
        """Whom the environment's processes run as, with the directories that it has."""

        def prepare() -> User:
            user = users.ensure(self._layout, self._installation_id, environment_id)
            directories.prepare(self._layout, environment_id, user)
            return user

        return await to_its_end(prepare)

    # What follows blocks and runs in threads.

    def _tidy(self, environment_id: str, used: set[Path]) -> None:
        now = self._clock()
        found = self._removable(environment_id)
        for path in found.keys() & used:
            self._unused.pop(path, None)
        for path in found.keys() - used:
            if now - self._unused.setdefault(path, now) >= _LINGER:
                found[path]()
                del self._unused[path]

    def _drop(self, environment_id: str) -> None:
        for path, remove in self._removable(environment_id).items():
            remove()
            self._unused.pop(path, None)

    def _removable(self, environment_id: str) -> dict[Path, Callable[[], None]]:
        """All that was fetched or made, and what a kill left of that; how each is removed."""
        found = dict[Path, Callable[[], None]]()
        for path in _entries(self._layout.objects(environment_id)):
            found[path] = partial(path.unlink, missing_ok=True)
        folder = self._layout.plugins(environment_id)
        for path in _entries(folder):
            if path.name.startswith("."):
                found[path] = partial(_remove_rubbish, path)
            elif path.suffix != ".json":
                found[path] = partial(remove_tree, folder, path.name)
            elif not path.with_suffix("").exists():  # the list of a folder that never came
                found[path] = partial(path.unlink, missing_ok=True)
        for path in _entries(self._layout.own_runtimes(environment_id)):
            found[path] = partial(_remove_rubbish if path.name.startswith(".") else self._remove_runtime, path)
        return found

    def _remove_runtime(self, mark: Path) -> None:
        extend.remove(self._layout, mark.name)
        mark.unlink()  # last: it says that there is something to remove


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove_rubbish(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _opened(key: DataKey, kept: Path, plain: Path, mode: int, group: int | None) -> bool:
    """Write what was kept sealed to a file that can be read. False: it isn't there, or an earlier release's."""
    try:
        content = key.open(kept.read_bytes(), kept.name)
    except (FileNotFoundError, Permanent):
        return False
    write_file(plain, content, mode, None if group is None else (os.geteuid(), group))
    return True
