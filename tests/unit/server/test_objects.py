"""What is made of objects, on a real disk: real archives, a real bash; S3 and what uv does are stand-ins."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aerodrome.backends import directories
from aerodrome.content import startup
from aerodrome.content.s3 import StaleCredentials
from aerodrome.domain import products
from aerodrome.domain.environment import Environment
from aerodrome.domain.products import Part
from aerodrome.errors import Permanent, Temporary
from aerodrome.reconcile.ports import Made, Making
from aerodrome.runtimes import extend, inventory
from aerodrome.runtimes.requirements import PLUGINS
from aerodrome.runtimes.resolve import Resolution
from aerodrome.supervision import processes
from support.making import BASE, TOKEN, House, Uv, versioned, zipped
from support.site import wait_for
from support.world import SECRETS


class TestPlugins:
    ARCHIVE = zipped({"my_plugin.py": "x = 1\n", "operators/mine.py": "y = 2\n"})

    async def test_the_given_version_becomes_a_folder(self, house: House, made: Environment) -> None:
        house.put(Part.PLUGINS, self.ARCHIVE)
        found = await house.make(made, Part.PLUGINS)
        tree = house.layout.plugins(made.id) / found.product["tree"]
        assert (tree / "operators" / "mine.py").read_text() == "y = 2\n"
        assert found.told == "Plugins: 2 files, 12 bytes"
        assert found.took.keys() == {"fetch", "unpack"}
        assert tree.parent.stat().st_mode & 0o777 == 0o755, "the environment's user passes through"
        (file,) = house.layout.objects(made.id).iterdir()
        assert file.stat().st_mode & 0o777 == 0o600

    async def test_what_is_there_costs_nothing(self, house: House, made: Environment) -> None:
        house.put(Part.PLUGINS, self.ARCHIVE)
        made = await house.kept(made, Part.PLUGINS)
        asked = len(house.bucket.asked)
        assert isinstance(await house.objects.make(made, SECRETS, Part.PLUGINS), Made)
        assert len(house.bucket.asked) == asked

    async def test_another_version_of_the_same_is_the_same_folder(self, house: House, made: Environment) -> None:
        house.put(Part.PLUGINS, self.ARCHIVE)
        house.put(Part.PLUGINS, self.ARCHIVE, "2")
        one = await house.make(made, Part.PLUGINS)
        assert (await house.make(versioned(made, Part.PLUGINS, "2"), Part.PLUGINS)).product == one.product

    @pytest.mark.parametrize("suspicious", [False, True])
    async def test_what_is_lost_is_made_again_without_s3(
        self, house: House, made: Environment, suspicious: bool
    ) -> None:
        house.put(Part.PLUGINS, self.ARCHIVE)
        made = await house.kept(made, Part.PLUGINS)
        ((_, product),) = made.made.items()
        tree = house.layout.plugins(made.id) / product["tree"]
        file = tree / "my_plugin.py"
        file.unlink()
        if not suspicious:
            tree.rename(tree.with_name(".gone"))
        house.bucket.objects.clear()
        assert (await house.make(made, Part.PLUGINS, suspicious=suspicious)).product == product
        assert file.read_text() == "x = 1\n"

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ("NoSuchVersion", "There is no version 1 of bucket/Plugins any more"),
            ("MethodNotAllowed", "There is no version 1"),
            ("AccessDenied", "may not read version 1 of bucket/Plugins"),
            (b"no archive at all", "Plugins was not unpacked: it is no ZIP archive"),
        ],
    )
    async def test_what_cannot_be_says_why(
        self, house: House, made: Environment, answer: bytes | str, words: str
    ) -> None:
        house.put(Part.PLUGINS, answer)
        with pytest.raises(Permanent, match=words):
            await house.make(made, Part.PLUGINS)
        assert [name for name in house.files(made, "plugins") if not name.startswith(".")] == []

    async def test_credentials_that_ran_out_are_asked_for_anew(self, house: House, made: Environment) -> None:
        house.put(Part.PLUGINS, "ExpiredToken")
        with pytest.raises(StaleCredentials):
            await house.make(made, Part.PLUGINS)
        house.put(Part.PLUGINS, self.ARCHIVE)
        await house.make(made, Part.PLUGINS)

    async def test_one_that_is_too_large_is_not_fetched(
        self, house: House, made: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aerodrome.server.objects.MAX_BYTES", 10)
        house.put(Part.PLUGINS, self.ARCHIVE)
        with pytest.raises(Permanent, match=r"Plugins was not fetched: it has .*, and 10 bytes is the most"):
            await house.make(made, Part.PLUGINS)
        assert house.files(made, "objects") == []

    async def test_half_of_an_object_is_none(self, house: House, made: Environment) -> None:
        """S3 hangs up in the middle; or we were killed there."""
        house.put(Part.PLUGINS, self.ARCHIVE)
        house.bucket.length = 10_000
        with pytest.raises(Temporary, match="of 10000 bytes of bucket/Plugins"):
            await house.make(made, Part.PLUGINS)
        assert house.files(made, "objects") == []
        house.bucket.length = None
        source = products.source(made, Part.PLUGINS)
        assert source is not None
        (house.layout.objects(made.id) / f".{source.id}.new").write_bytes(b"half")
        await house.make(made, Part.PLUGINS)
        assert house.files(made, "objects") == [source.id]


class TestStartup:
    async def test_its_exports_are_everybodys(self, house: House, made: Environment) -> None:
        text = "echo hello\nexport PLAIN=yes PATH=/opt/x:$PATH AIRFLOW_HOME=/elsewhere\nfalse\n"
        house.put(Part.STARTUP, text.encode())
        found = await house.make(made, Part.STARTUP)
        exports = found.product["exports"]
        assert exports.keys() == {"scheduler", "webserver", "worker"}
        assert exports["worker"] == exports["scheduler"] == exports["webserver"]
        assert exports["worker"].pop("PATH").startswith("/opt/x:{programs}:/usr/local/sbin:")
        assert exports["worker"] == {"PLAIN": "yes"}
        assert found.told == (
            "The startup script ran and exports PATH, PLAIN. What it does to AIRFLOW_HOME is ignored: the service sets"
            " that. Its last command ended with status 1."
        )
        assert (house.layout.component_logs(made.id) / "startup-script.log").read_text() == "hello\n"

    async def test_one_that_asks_where_it_is_runs_for_each_kind(self, house: House, made: Environment) -> None:
        house.put(Part.STARTUP, b'echo "in $MWAA_AIRFLOW_COMPONENT"\nexport ROLE=$MWAA_AIRFLOW_COMPONENT\n')
        exports = (await house.make(made, Part.STARTUP)).product["exports"]
        assert {kind: exports[kind]["ROLE"] for kind in exports} == {kind: kind for kind in exports}
        for kind in exports:
            log = house.layout.component_logs(made.id) / f"startup-script-{kind}.log"
            assert log.read_text() == f"in {kind}\n"

    async def test_one_that_fails_tells_its_last_lines_and_no_value(self, house: House, made: Environment) -> None:
        text = "export DB_PASSWORD='correct horse'\necho connecting with \"$DB_PASSWORD\"\n"
        text += "echo $AWS_CONTAINER_AUTHORIZATION_TOKEN in $AWS_REGION\nexit 3\n"
        house.put(Part.STARTUP, text.encode())
        with pytest.raises(Permanent) as failure:
            await house.make(made, Part.STARTUP)
        assert "connecting with <DB_PASSWORD>" in str(failure.value)
        assert "<AWS_CONTAINER_AUTHORIZATION_TOKEN> in eu-west-1" in failure.value.detail
        assert failure.value.__cause__ is None
        assert "correct horse" not in str(failure.value) + failure.value.detail
        assert TOKEN not in str(failure.value) + failure.value.detail

    async def test_one_that_takes_too_long_is_ended(
        self, house: House, made: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = startup.run
        monkeypatch.setattr(startup, "run", lambda script: run(script, timeout=0.3))
        house.put(Part.STARTUP, b"echo begun\nsleep 600\n")
        with pytest.raises(Permanent, match=r"did not end within .* Its last lines: begun"):
            await house.make(made, Part.STARTUP)

    async def test_bytes_that_are_no_text_are_refused(self, house: House, made: Environment) -> None:
        house.put(Part.STARTUP, b"export RAW=$'\\xff'\n")
        with pytest.raises(Permanent, match="exports as RAW is no UTF-8"):
            await house.make(made, Part.STARTUP)


class TestRequirements:
    async def test_a_runtime_of_its_own_marked_before_it_is_there(
        self, house: House, made: Environment, uv: Uv
    ) -> None:
        def seen() -> None:
            (key,) = house.files(made, "runtimes")
            assert not house.layout.runtime(key).exists()

        uv.seen = seen
        house.put(Part.REQUIREMENTS, b"cowsay\n")
        found = await house.make(made, Part.REQUIREMENTS)
        assert found.product["runtime"] in uv.installed
        assert found.product["runtime"] != BASE
        assert found.told.startswith("Requirements: cowsay 6.1. Requirements names no constraints")
        assert found.took.keys() == {"fetch", "resolve", "install"}

    async def test_plugins_and_exports_are_there_for_it(self, house: House, made: Environment, uv: Uv) -> None:
        house.put(Part.PLUGINS, TestPlugins.ARCHIVE)
        house.put(Part.STARTUP, b"export INDEX_TOKEN=hunter22\n")
        house.put(
            Part.REQUIREMENTS, b"--index-url https://x:${INDEX_TOKEN}@h/\n--find-links /usr/local/airflow/plugins\na\n"
        )
        made = await house.kept(await house.kept(made, Part.PLUGINS), Part.STARTUP)
        found = await house.make(made, Part.REQUIREMENTS)
        ((wanted, folders),) = uv.asked
        assert wanted.index == "https://x:hunter22@h/"
        assert folders[PLUGINS] == house.layout.plugins(made.id) / (products.content(made, BASE).plugins or "")
        assert "hunter22" not in found.told

    async def test_what_airflow_has_already_needs_no_runtime(self, house: House, made: Environment, uv: Uv) -> None:
        uv.resolution = Resolution({}, {}, "")
        house.put(Part.REQUIREMENTS, b"apache-airflow\n")
        found = await house.make(made, Part.REQUIREMENTS)
        assert found.product["runtime"] == BASE
        assert found.told.startswith("Requirements: nothing that Airflow does not have.")
        assert uv.installed == house.files(made, "runtimes") == []

    async def test_a_conflict_has_the_resolvers_words(self, house: House, made: Environment, uv: Uv) -> None:
        uv.failure = Permanent("The requirements can't be installed: Because …")
        house.put(Part.REQUIREMENTS, b"flask==1\n")
        with pytest.raises(Permanent, match="Because …"):
            await house.make(made, Part.REQUIREMENTS)
        assert uv.installed == []

    async def test_a_damaged_one_is_made_again_of_the_same_packages(
        self, house: House, made: Environment, uv: Uv
    ) -> None:
        """Whatever an index would say today."""
        house.put(Part.REQUIREMENTS, b"cowsay\n")
        made = await house.kept(made, Part.REQUIREMENTS)
        ((_, product),) = made.made.items()
        (house.layout.runtime(product["runtime"]) / "bin" / "python").unlink()
        uv.failure = Temporary("An index is out of reach.")
        await house.objects.make(made, SECRETS, Part.REQUIREMENTS)  # the first look goes on beside
        (house.layout.runtime(product["runtime"]) / "bin").rmdir()
        (house.layout.runtime(product["runtime"]) / inventory.MARKER).unlink()
        house.layout.runtime(product["runtime"]).rmdir()
        assert (await house.make(made, Part.REQUIREMENTS)).product == product
        assert uv.installed == [product["runtime"]] * 2
        assert len(uv.asked) == 1


class TestTexts:
    @pytest.mark.parametrize("part", [Part.STARTUP, Part.REQUIREMENTS])
    async def test_passwords_in_them_lie_sealed_and_need_no_s3_again(
        self, house: House, made: Environment, uv: Uv, part: Part
    ) -> None:
        text = (
            b"export A=correct-horse\n" if part is Part.STARTUP else b"--index-url https://x:correct-horse@h/\ncowsay\n"
        )
        house.put(part, text)
        before = await house.make(made, part)
        (name,) = house.files(made, "objects")
        kept = house.layout.objects(made.id) / name
        assert b"correct-horse" not in kept.read_bytes()
        assert kept.stat().st_mode & 0o777 == 0o600
        house.bucket.objects.clear()
        assert (await house.make(made, part)).product == before.product
        assert house.files(made, "objects") == [name]

    async def test_one_that_an_earlier_release_kept_is_fetched_and_sealed(
        self, house: House, made: Environment
    ) -> None:
        house.put(Part.STARTUP, b"export A=correct-horse\n")
        await house.make(made, Part.STARTUP)
        (name,) = house.files(made, "objects")
        kept = house.layout.objects(made.id) / name
        kept.write_bytes(b"export A=correct-horse\n")
        await house.make(made, Part.STARTUP)
        assert b"correct-horse" not in kept.read_bytes()


class TestTidy:
    async def everything(self, house: House, made: Environment) -> Environment:
        house.put(Part.PLUGINS, TestPlugins.ARCHIVE)
        house.put(Part.STARTUP, b"export A=1\n")
        house.put(Part.REQUIREMENTS, b"cowsay\n")
        for part in Part:
            made = await house.kept(made, part)
        return made

    def there(self, house: House, made: Environment) -> dict[str, list[str]]:
        found = {folder: house.files(made, folder) for folder in ("objects", "plugins", "runtimes")}
        return {**found, "all runtimes": sorted(path.name for path in house.layout.runtimes.iterdir())}

    async def test_what_is_used_stays_and_the_rest_goes_after_a_while(
        self, house: House, made: Environment, uv: Uv
    ) -> None:
        made = await self.everything(house, made)
        before = self.there(house, made)
        assert [len(names) for names in before.values()] == [3, 2, 1, 1]
        house.put(Part.PLUGINS, zipped({"other.py": ""}), "2")
        house.put(Part.REQUIREMENTS, b"cowsay\n", "2")
        uv.resolution = Resolution({"cowsay": "6.2"}, {}, "cowsay==6.2\n")
        after = versioned(versioned(made, Part.PLUGINS, "2"), Part.REQUIREMENTS, "2")
        after = await house.kept(await house.kept(after, Part.PLUGINS), Part.REQUIREMENTS)
        both = self.there(house, after)
        for _ in range(3):
            await house.objects.tidy(after)
            assert self.there(house, after) == both, "a command of Airflow's CLI may be using it"
            house.seconds += 50
        await house.objects.tidy(after)
        now = self.there(house, after)
        assert [len(names) for names in now.values()] == [3, 2, 1, 1]
        content = products.content(after, BASE)
        assert content.plugins in now["plugins"]
        assert now["runtimes"] == now["all runtimes"] == [content.runtime]
        await house.objects.tidy(after)
        assert self.there(house, after) == now

    async def test_what_is_used_again_stays(self, house: House, made: Environment, uv: Uv) -> None:
        made = await self.everything(house, made)
        before = self.there(house, made)
        without = replace(made, desired={name: value for name, value in made.desired.items() if "Plugins" not in name})
        await house.objects.tidy(without)
        house.seconds += 100
        await house.objects.tidy(made)
        house.seconds += 100
        await house.objects.tidy(without)
        assert self.there(house, made) == before

    async def test_what_a_kill_left_goes_too(self, house: House, made: Environment, uv: Uv) -> None:
        """A mark without a runtime, one that was being made, one that was being removed."""
        made = await self.everything(house, made)
        before = self.there(house, made)
        key = f"{BASE[:-1]}c"
        (house.layout.own_runtimes(made.id) / key).touch()
        extend.aside(house.layout, key).mkdir()
        (house.layout.runtimes / f".{key}.lock").touch()
        for _ in range(2):
            await house.objects.tidy(made)
            house.seconds += 150
        assert self.there(house, made) == before

    async def test_a_delete_leaves_no_runtime(self, house: House, made: Environment, uv: Uv) -> None:
        made = await self.everything(house, made)
        await house.objects.drop(made.id)
        assert self.there(house, made) == {"objects": [], "plugins": [], "runtimes": [], "all runtimes": []}
        await house.objects.drop(made.id)
        await house.objects.drop("never heard of")

    async def test_a_delete_ends_what_is_being_made(self, house: House, made: Environment) -> None:
        house.put(Part.STARTUP, b"echo $$ >pid\nsleep 600\n")
        file = house.layout.airflow_home(made.id) / "pid"
        assert isinstance(await house.objects.make(made, SECRETS, Part.STARTUP), Making)
        pid = await asyncio.to_thread(wait_for, "the script", lambda: file.exists() and file.read_text().strip())
        await house.objects.tidy(made)
        assert len(house.files(made, "objects")) == 2, "what is kept, sealed, and what the script is run from"
        await house.objects.drop(made.id)
        assert processes.look(int(pid)) is None
        directories.remove(house.layout, made.id)
