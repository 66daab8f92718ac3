"""Access modes and security groups on the real thing: who answers where, and nothing of Airflow is started anew."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from aerodrome.domain import versions
from aerodrome.domain.web_server import Side, host_on
from support.asking import update
from support.site import Demo, Site, wait_for

from .test_updates import components

PATIENCE = 10  # seconds for an answer


@pytest.fixture
def shared(demo: Demo) -> Iterator[Demo]:
    """The environment, which is afterwards as it was."""
    before = demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]
    yield demo
    groups = {"SecurityGroupIds": before["NetworkConfiguration"]["SecurityGroupIds"]}
    update(demo, WebserverAccessMode=before["WebserverAccessMode"], NetworkConfiguration=groups)


def ask(
    site: Site, host: str, path: str = "/", *, source: str = "127.0.0.1", token: str = "", cookie: str = ""
) -> http.client.HTTPResponse | None:
    """The answer at a web server's host, over TLS that trusts the installation's bundle; None: nobody is there.

    `source`: the loopback address that we come from. `token`: a web token to sign in with.
    """
    name, _, port = host.partition(":")
    connection = http.client.HTTPConnection(name, int(port or 443))
    address = "127.0.0.1" if site.installation.web_host == "name" else name
    try:
        plain = socket.create_connection((address, int(port or 443)), PATIENCE, source_address=(source, 0))
        trust = ssl.create_default_context(cafile=str(site.layout.ca_bundle))
        connection.sock = trust.wrap_socket(plain, server_hostname=name)
        headers = {"Host": host, "Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        body = f"token={token}" if token else None
        connection.request("POST" if token else "GET", path, body, headers)
        answer = connection.getresponse()
        answer.read()
    except OSError:  # refused, closed, or another name's certificate
        return None
    finally:
        connection.close()
    return None if answer.status in (403, 404, 421) else answer


def hosts(demo: Demo) -> tuple[str, str]:
    """Public and private."""
    shown = demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]
    assert shown["WebserverAccessMode"] == "PUBLIC_ONLY"
    return shown["WebserverUrl"], host_on(Side.PRIVATE, shown["WebserverUrl"], demo.site.installation.private_port)


def sign_in(demo: Demo, host: str) -> None:
    """As `aerodrome env open` leads to it: the token for a cookie, and that for Airflow's own API."""
    link = urlsplit(demo.site.aerodrome("env", "open", demo.name).stdout.strip())
    assert link.netloc == host
    login = link.path.replace("aws-console-sso", "login")
    answer = ask(demo.site, host, login, token=link.fragment)
    assert answer is not None
    assert answer.status == 200
    cookies = "; ".join(value.partition(";")[0] for value in answer.headers.get_all("set-cookie") or ())
    answer = ask(demo.site, host, f"{demo.version.api_prefix}/dags", cookie=cookies)
    assert answer is not None
    assert answer.status == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_another_mode_moves_the_web_server_and_restarts_nothing(shared: Demo) -> None:
    site, before = shared.site, components(shared)
    public, private = hosts(shared)
    assert ask(site, private) is None
    sign_in(shared, public)

    shown = update(shared, WebserverAccessMode="PRIVATE_ONLY")
    assert (shown["Status"], shown["WebserverUrl"]) == ("AVAILABLE", private)
    assert ask(site, public) is None, "AVAILABLE means that it is in force"
    assert ask(site, private) is not None
    sign_in(shared, private)
    assert shared.cli("version").stdout.strip() == shared.version.version
    assert shared.rest("/dags")["total_entries"] > 0, "the API needs neither side"
    assert private in site.aerodrome("status").stdout.replace("\n", "")
    listed = json.loads(site.aerodrome("status", "--json").stdout)["environments"]
    assert [each["hosts"] for each in listed if each["name"] == shared.name] == [[private]]

    if shared.version.major >= 3:
        shown = update(shared, WebserverAccessMode="PUBLIC_AND_PRIVATE")
        assert shown["WebserverUrl"] == public
        sign_in(shared, public)
        assert ask(site, private) is not None

    update(shared, WebserverAccessMode="PUBLIC_ONLY")
    assert ask(site, public) is not None
    assert ask(site, private) is None
    assert components(shared) == before, "names, process ids and start times"


@pytest.mark.parametrize("demo", [versions.DEFAULT_VERSION], indirect=True)
def test_security_groups_say_who_gets_in(shared: Demo) -> None:
    site, before, ec2 = shared.site, components(shared), shared.site.client("ec2")
    _, private = hosts(shared)
    vpc = ec2.describe_subnets()["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="office", Description="one client", VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    office, home = ({**https, "IpRanges": [{"CidrIp": f"{client}/32"}]} for client in ("127.0.0.7", "127.0.0.8"))
    try:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[office])
        update(shared, WebserverAccessMode="PRIVATE_ONLY", NetworkConfiguration={"SecurityGroupIds": [group]})
        assert ask(site, private, source="127.0.0.7") is not None
        assert ask(site, private, source="127.0.0.8") is None
        assert ask(site, private) is None, "this machine isn't let in by itself"
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[home])
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[office])
        wait_for("the new rule", lambda: ask(site, private, source="127.0.0.8"), 40)
        assert ask(site, private, source="127.0.0.7") is None
        assert components(shared) == before
        log = (site.layout.log / "server.log").read_text()
        assert f"127.0.0.7 is refused by its security groups ({group})" in log
    finally:
        update(shared, WebserverAccessMode="PUBLIC_ONLY")
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[home])
    assert "Local authority" in site.aerodrome("tls").stdout
