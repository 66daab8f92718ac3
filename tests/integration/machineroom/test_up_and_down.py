"""`aerodrome up`, `down`, `status`, `purge` on a real machine room."""

from __future__ import annotations

import os
import pwd
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import boto3
import psycopg
import pytest
import redis

from aerodrome.supervision import daemon
from aerodrome.supervision.files import Files
from support.house import House, alive, answers, eventually, kill_and_wait, put, stopped

MACHINE_ROOM = {"guard", "postgres", "valkey", "cloud", "server"}

# For what is the same whoever runs it: root's way differs in who the programs run as, and the other tests have both.
ONE_PERSON = pytest.mark.parametrize("person", ["ordinary"], indirect=True, scope="session")


def write(house: House, value: str) -> None:
    """Something acknowledged in each store."""
    with psycopg.connect(f"{house.installation.postgres_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))
    with redis.from_url(house.installation.valkey_url) as client:
        client.rpush("kept", value)
    bucket(house).put_object(Key=f"kept/{value}", Body=value.encode())


def read(house: House) -> list[str]:
    """What is there, after checking that all stores agree."""
    with psycopg.connect(f"{house.installation.postgres_url}/postgres") as connection:
        rows = [row[0] for row in connection.execute("SELECT value FROM kept").fetchall()]
    with redis.from_url(house.installation.valkey_url) as client:
        assert [value.decode() for value in client.lrange("kept", 0, -1)] == rows
    assert sorted(item.key for item in bucket(house).objects.all()) == sorted(f"kept/{value}" for value in rows)
    return rows


def bucket(house: House):  # type: ignore[no-untyped-def]
    """A bucket of the embedded cloud, as its administrator, past the stand-in for the front door."""
    installation = house.installation
    found = boto3.resource(
        "s3",
        endpoint_url=f"http://127.0.0.1:{installation.cloud_port}",
        aws_access_key_id=installation.admin_access_key,
        aws_secret_access_key=installation.admin_secret_key,
        region_name=installation.region,
    ).Bucket("kept")
    found.create()
    return found


def test_up_down_up_purge(house: House) -> None:
    output = house.run("up", "--detach")
    assert "Aerodrome is up" in output
    installation = house.installation
    programs = house.programs()
    assert set(programs) == MACHINE_ROOM
    assert {program["phase"] for program in programs.values()} <= {"running", "starting"}
    assert all(program["memory"] > 0 for program in programs.values())

    # Nobody gets in without the password.
    wrong = installation.postgres_url.replace(installation.postgres_password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"{wrong}/postgres")
    for url in (
        f"redis://127.0.0.1:{installation.valkey_port}",
        installation.valkey_url.replace("default:", "default:x"),
    ):
        with pytest.raises(redis.exceptions.RedisError), redis.from_url(url) as client:
            client.ping()
    with psycopg.connect(f"{installation.postgres_url}/postgres") as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'aerodrome'").fetchone()
        assert stored is not None
        assert stored[0].startswith("SCRAM-SHA-256$")
    write(house, "first")

    # Its files are closed to others; as root, each server is a user of its own.
    for path in (house.layout.secrets, house.layout.postgres, house.layout.valkey, house.layout.log):
        assert path.stat().st_mode & 0o077 == 0, path
    assert house.layout.installation_file.stat().st_mode & 0o777 == 0o600
    users = {
        pwd.getpwuid(Path(f"/proc/{program['pid']}").stat().st_uid).pw_name for program in house.programs().values()
    }
    mine = f"aero{installation.id}-"
    expected = {"root", f"{mine}pg", f"{mine}kv", f"{mine}cloud"} if house.person.uid == 0 else {house.person.name}
    assert users == expected

    second = house.run("up")
    assert "already up" in second
    assert installation.endpoint in second

    pids = [program["pid"] for program in programs.values()]
    assert "Stopped." in house.run("down")
    assert not any(alive(pid) for pid in pids)
    assert house.status()["running"] is False
    assert "wasn't running" in house.run("down")

    house.run("up", "--detach")
    assert house.installation == installation
    assert read(house) == ["first"]
    assert "still runs" in house.run("purge", "--yes", code=1)
    house.run("down", "--now")
    house.run("purge", "--yes")
    assert not house.home.exists() or not any(house.home.iterdir())
    assert not [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith(mine)]


def test_kill_9_loses_nothing(house: House) -> None:
    house.run("up", "--detach")
    write(house, "one")
    before = house.programs()
    for name in MACHINE_ROOM:
        kill_and_wait(before[name]["pid"])
    house.run("up", "--detach")
    after = house.programs()
    assert all(after[name]["pid"] != before[name]["pid"] for name in MACHINE_ROOM)
    assert read(house) == ["one"]

    write(house, "two")
    supervisor = house.supervisor_pid()
    kill_and_wait(supervisor)
    files = Files.of(house.layout)
    eventually(lambda: daemon.owner(files) not in (None, supervisor), "everything comes back without a command", 90)
    house.run("up", "--detach")  # waits for the one that brings it back
    write(house, "three")
    assert read(house) == ["one", "two", "three"]
    survivors = [name for name, program in after.items() if alive(program["pid"])]
    assert survivors == [], "an old server runs beside the new one"


@ONE_PERSON
def test_down_says_when_nothing_can_be_stopped(house: House) -> None:
    house.run("up", "--detach")
    pid = house.supervisor_pid()
    with stopped(pid):
        output = house.run("down", "--now", code=1)
    assert f"process {pid}) runs, but doesn't answer: nothing was stopped" in output
    assert f"`kill -9 {pid}`" in output
    assert house.status()["running"] is True
    house.run("down", "--now")
    assert house.status()["running"] is False


PORTS = ("front_port", "gateway_port", "postgres_port", "valkey_port", "cloud_port")


@ONE_PERSON
def test_two_installations_side_by_side(make_house: Callable[..., House]) -> None:
    one, two = make_house(), make_house()
    one.run("up", "--detach")
    output = two.run("up", "--detach")
    first, second = one.installation, two.installation
    ports = [getattr(entry, name) for entry in (first, second) for name in PORTS]
    assert len(set(ports)) == 9 if first.gateway_port == second.gateway_port else 10
    assert f"the front door is on {second.front_port}" in output
    write(one, "of the first")
    write(two, "of the second")
    two.run("down", "--now")
    assert read(one) == ["of the first"]


def test_a_taken_port(make_house: Callable[..., House]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        asked = make_house(AERODROME_PORT=str(port))
        output = asked.run("up", "--detach", code=1)
        assert f"Port {port}, asked for by AERODROME_PORT" in output
        assert len(output.splitlines()) == 1
        assert not asked.layout.installation_file.exists()


def test_ctrl_c_while_it_runs(house: House) -> None:
    process = house.start("up")
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "log follows" in line:
            break
    assert "Aerodrome is up" in seen
    assert answers(house.installation.front_port)
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "Stopped." in rest
    assert "Traceback" not in rest
    assert not answers(house.installation.front_port)
    assert house.status()["running"] is False


@ONE_PERSON
@pytest.mark.parametrize("moment", ["secrets", "postgres", "postgres/data", "cloud/cloud.sock"])
def test_ctrl_c_while_it_starts(house: House, moment: str) -> None:
    """Ctrl-C as soon as a folder appears: the next `up` repairs what was left."""
    process = house.start("up", "--detach")
    eventually(lambda: (house.home / moment).exists() or process.poll() is not None, f"{moment} appears")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert "Traceback" not in output
    assert process.returncode in (0, 130), output
    house.run("up", "--detach")
    write(house, "after")
    assert read(house) == ["after"]


@pytest.mark.parametrize("moment", ["secrets", "postgres", "postgres/data"])
def test_kill_9_while_it_starts(house: House, moment: str) -> None:
    process = house.start("up", "--detach")
    eventually(lambda: (house.home / moment).exists() or process.poll() is not None, f"{moment} appears")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    house.run("up", "--detach")
    write(house, "after")
    assert read(house) == ["after"]


WORKER = """
import signal, sys, time, urllib.request
signal.signal(signal.SIGTERM, lambda *_: setattr(sys, "asked", True))
sys.asked = False
open(sys.argv[1] + "/ready", "w").close()
while not sys.asked:
    time.sleep(0.05)
time.sleep(3)
urllib.request.urlopen(sys.argv[2], timeout=5)
open(sys.argv[1] + "/finished", "w").close()
"""


def test_down_lets_workers_finish_and_serves_them_until_then(house: House) -> None:
    """A task that is running reaches the front door to its last second; `--now` doesn't wait for it."""
    house.run("up", "--detach")
    folder = house.home / "environments" / "0123456789ab"
    folder.mkdir()
    os.chown(folder, house.person.uid, house.person.gid)
    url = f"{house.installation.endpoint}/healthz"
    put(
        house,
        name="0123456789ab.worker-1-abcd",
        argv=[str(house.person.python), "-I", "-c", WORKER, str(folder), url],
        log_path=folder / "worker.log",
        stop_wait=60,
        priority=900,
    )
    eventually((folder / "ready").exists, "the worker runs")
    output = house.run("down")
    assert (folder / "finished").exists(), (folder / "worker.log").read_text()
    assert "still running: 0123456789ab.worker-1-abcd" in output

    for name in ("ready", "finished"):
        (folder / name).unlink()
    house.run("up", "--detach")
    eventually((folder / "ready").exists, "the worker is back")
    house.run("down", "--now")
    assert not (folder / "finished").exists()
