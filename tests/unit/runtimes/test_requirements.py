"""requirements.txt as people write it, as MWAA reads it, and as somebody would who means harm."""

from __future__ import annotations

import codecs

import pytest

from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.runtimes import constraints
from aerodrome.runtimes.key import lock_text
from aerodrome.runtimes.requirement_lines import decode, names_constraints
from aerodrome.runtimes.requirements import Requirements, parse, redact

OFFICIAL = "https://raw.githubusercontent.com/apache/airflow/constraints-3.3.1/constraints-3.12.txt"


def read(text: str, files: dict[str, str] | None = None, variables: dict[str, str] | None = None) -> Requirements:
    def open_file(place: str) -> bytes:
        try:
            return (files or {})[place].encode()
        except KeyError:
            raise Permanent(f"no {place}") from None

    return parse(text.encode(), variables or {}, open_file)


class TestLines:
    def test_requirements_comments_and_empty_lines(self) -> None:
        found = read("# what we need\n\nsix==1.16.0  # pinned\n  Requests[socks] >= 2 , < 3\n")
        assert found.wanted == ("six==1.16.0", "Requests[socks]<3,>=2")

    def test_a_hash_sign_within_a_word_is_no_comment(self) -> None:
        found = read("demo @ https://host/demo-1-py3-none-any.whl#sha256=00\n")
        assert found.wanted == ("demo @ https://host/demo-1-py3-none-any.whl#sha256=00",)

    def test_lines_that_go_on(self) -> None:
        found = read("six==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nidna \\\n# a comment ends it\n")
        assert found.wanted == ("six==1.16.0", "idna")
        assert found.hashes == {"six": ("sha256:aa", "sha256:bb")}

    def test_markers_stay(self) -> None:
        assert read("tomli ; python_version < '3.11'\n").wanted == ('tomli; python_version < "3.11"',)

    @pytest.mark.parametrize(
        ("mark", "encoding"),
        [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
         (codecs.BOM_UTF32_LE, "utf-32-le"), (b"", "utf-8"), (b"", "latin-1")],
    )  # fmt: skip
    def test_encodings(self, mark: bytes, encoding: str) -> None:
        assert decode(mark + "six # größer\r\n".encode(encoding)) == "six # größer\r\n"

    def test_variables_that_the_startup_script_exports(self) -> None:
        found = read(
            "--extra-index-url https://u:${TOKEN}@host/${UNKNOWN}/${lower}\n",
            variables={"TOKEN": "t0p-secret", "lower": "x"},
        )
        assert found.extra_indexes == ("https://u:t0p-secret@host/${UNKNOWN}/${lower}",)

    def test_the_same_line_twice_is_asked_once(self) -> None:
        assert read("six\nsix\n").wanted == ("six",)


class TestSources:
    def test_options(self) -> None:
        found = read(
            "-i https://a/simple\n--extra-index-url=https://b/simple\n--extra-index-url https://c/simple\n"
            "--find-links /usr/local/airflow/plugins\n-f https://d/wheels\n--no-index\n--pre\n"
        )
        assert found.index == "https://a/simple"
        assert found.extra_indexes == ("https://b/simple", "https://c/simple")
        assert found.find_links == ("/usr/local/airflow/plugins", "https://d/wheels")
        assert (found.no_index, found.prereleases, found.is_private) == (True, True, True)

    def test_short_options_may_touch_their_value(self) -> None:
        assert read("-ihttps://a/simple\n").index == "https://a/simple"

    @pytest.mark.parametrize(
        "line",
        [
            "/usr/local/airflow/plugins/demo-1.0-py3-none-any.whl",
            "plugins/demo-1.0-py3-none-any.whl",
            "./plugins/demo-1.0-py3-none-any.whl",
            "file:///usr/local/airflow/plugins/demo-1.0-py3-none-any.whl",
            "demo @ file:///usr/local/airflow/plugins/demo-1.0-py3-none-any.whl",
            "demo@file:///usr/local/airflow/plugins/demo-1.0-py3-none-any.whl",
        ],
    )
    def test_a_wheel_in_plugins_zip(self, line: str) -> None:
        assert read(line).wanted == ("demo @ file:///usr/local/airflow/plugins/demo-1.0-py3-none-any.whl",)

    def test_a_wheel_with_extras_and_a_marker(self) -> None:
        found = read("plugins/demo-1.0-py3-none-any.whl[x,y] ; python_version > '3'\n")
        assert found.wanted == (
            "demo[x,y] @ file:///usr/local/airflow/plugins/demo-1.0-py3-none-any.whl ; python_version > '3'",
        )

    def test_what_comes_from_the_registry_alone_is_for_everybody(self) -> None:
        assert not read("six\n--pre\n").is_private
        assert read("demo @ https://host/demo-1-py3-none-any.whl\n").is_private


class TestIncludes:
    def test_a_file_of_plugins_zip(self) -> None:
        files = {
            "/usr/local/airflow/plugins/more.txt": "idna\n-r plugins/most.txt\n",
            "/usr/local/airflow/plugins/most.txt": "six",
        }
        assert read("-r /usr/local/airflow/plugins/more.txt\nattrs\n", files).wanted == ("idna", "six", "attrs")

    def test_a_circle(self) -> None:
        with pytest.raises(Permanent, match="includes itself"):
            read("-r plugins/a.txt", {"/usr/local/airflow/plugins/a.txt": "-r plugins/a.txt"})

    def test_constraints_beside_the_dags(self) -> None:
        found = read(
            "-c dags/constraints.txt\nsix", {"/usr/local/airflow/dags/constraints.txt": "six==1.15.0\n--pre\nidna<3"}
        )
        assert found.constraints == ("six==1.15.0", "idna<3")
        assert (found.own_constraints, found.notes, found.prereleases) == (True, (), False)

    def test_constraints_at_a_url(self) -> None:
        assert read(f'--constraint "{OFFICIAL}"\nsix', {OFFICIAL: "six==1.17.0"}).constraints == ("six==1.17.0",)


class TestMwaasRuleOfConstraints:
    """mwaa-spec 5.1: a line with `-c ` or `--constraint `, and the image's own are not forced. A comment counts."""

    @pytest.mark.parametrize(
        "text", ["-c plugins/c.txt", '--constraint "https://x"', "# --constraint none", "six # -c is not needed"]
    )
    def test_named(self, text: str) -> None:
        assert names_constraints(text)

    @pytest.mark.parametrize("text", ["six", "--constraints=x", "-cplugins/c.txt", "# constraint", ""])
    def test_not_named(self, text: str) -> None:
        assert not names_constraints(text)

    def test_without_any_all_pins_hold_and_it_is_said(self) -> None:
        found = read("six\n")
        assert not found.own_constraints
        assert "names no constraints" in found.notes[0]

    @pytest.mark.parametrize("version", versions.VERSIONS)
    def test_what_packages_are_resolved_under(self, version: str) -> None:
        lock = lock_text(version, "3.11")
        forced = constraints.constraints(lock, (), has_own=False)
        assert f"apache-airflow=={version}" in forced
        assert any(line.startswith("boto3==") for line in forced)
        own = constraints.constraints(lock, ("boto3<2",), has_own=True)
        assert own[0] == "boto3<2"
        assert f"apache-airflow=={version}" in own
        assert {"celery", "sqlalchemy", "flask", "redis"} <= {line.partition("==")[0].lower() for line in own}
        assert not any(line.startswith("boto3==") for line in own)

    @pytest.mark.parametrize("version", versions.VERSIONS)
    def test_every_pin_of_a_lock_is_found(self, version: str) -> None:
        lock = lock_text(version, "3.12")
        assert len(constraints.pins(lock)) == sum(line[:1].isalnum() for line in lock.splitlines())

    def test_airflows_own_file(self) -> None:
        assert constraints.is_official(OFFICIAL, "3.3.1")
        assert not constraints.is_official(OFFICIAL, "2.11.2")
        assert not constraints.is_official(OFFICIAL.replace("apache", "somebody"), "3.3.1")


REFUSED = {
    "-e git+https://host/x.git#egg=x": "editable",
    "-e .": "editable",
    "x @ git+https://host/x.git": "built from its source",
    "git+https://host/x.git": "built from its source",
    "https://host/x-1.0.tar.gz": "built from its source",
    "plugins/x-1.0.zip": "built from its source",
    "./plugins": "built from its source",
    "/etc/x-1-py3-none-any.whl": "isn't below",
    "plugins/../../../../etc/x-1-py3-none-any.whl": "isn't below",
    "/usr/local/airflow/plugins-of-others/x-1-py3-none-any.whl": "isn't below",
    "x @ file:///etc/x-1-py3-none-any.whl": "isn't below",
    "plugins/x.whl": "no name of a wheel",
    "-r /etc/shadow": "isn't below",
    "-c file:///etc/shadow": "isn't below",
    "-r https://host/requirements.txt": "by its URL",
    "--find-links /root": "isn't below",
    "--find-links file:///root": "isn't below",
    "--index-url file:///root": "https://",
    "--extra-index-url /root": "https://",
    "-i http://": "https://",
    "-i https://[::1": "https://",
    "--no-binary :all:": "not supported",
    "--config=/etc/x": "not supported",
    "six --global-option=x": "for building",
    "six six": "is no requirement",
    "=1.0": "is no requirement",
    "-c": "no value",
    "-r 'x": "can't be read",
    "--pre now": "where an option should be",
}


@pytest.mark.parametrize(("line", "why"), REFUSED.items(), ids=ascii)
def test_a_line_that_is_refused_is_named(line: str, why: str) -> None:
    with pytest.raises(Permanent, match=why) as refusal:
        read(f"# first\n{line}\n")
    assert str(refusal.value).startswith("Line 2 of requirements.txt ")


class TestSecrets:
    TEXT = "--index-url https://user:p%40ss-word@host/simple\nx @ https://token-123456@other/x-1-py3-none-any.whl\n"

    def test_are_known(self) -> None:
        assert {"p%40ss-word", "p@ss-word", "user:p%40ss-word", "token-123456"} <= set(read(self.TEXT).secrets)

    def test_are_in_no_message(self) -> None:
        said = redact(
            "401 of https://user:p%40ss-word@host/simple with p@ss-word, token-123456", read(self.TEXT).secrets
        )
        assert said == "401 of https://****@host/simple with ****, ****"

    @pytest.mark.parametrize(
        "line",
        [
            "--find-links https://host/wheels?sig=hidden-word",
            "--index-url https://user:p@ss@hidden-word@host/simple",
            "x @ https://host/x-1-py3-none-any.whl?token=hidden-word ; python_version > '3'",
        ],
    )
    def test_may_stand_elsewhere_in_a_url(self, line: str) -> None:
        found = read(line)
        url = next(word for word in line.split() if "://" in word)
        assert "hidden-word" not in redact(f"Failed to fetch: `{url}`.", found.secrets)
        assert "hidden-word" not in redact(f"401 for https://me:hidden-word@host/x and {url}", found.secrets)
        assert "hidden-word" not in repr(found)

    def test_are_not_in_the_representation(self) -> None:
        assert "word" not in repr(read(self.TEXT))
        assert "123456" not in repr(read(self.TEXT))

    @pytest.mark.parametrize(
        "line", ["-i ftp://user:hidden-1@host", "x @ https://user:hidden-1@host/x.tar.gz", "six @ hidden://"]
    )
    def test_are_not_in_refusals(self, line: str) -> None:
        with pytest.raises(Permanent) as refusal:
            read(line)
        assert "hidden-1" not in str(refusal.value)
