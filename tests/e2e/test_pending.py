"""EndpointManagement CUSTOMER on the real thing, from the create to what a real owner of endpoints does."""

from __future__ import annotations

from typing import Any

from support import traces
from support.site import Site, wait_for

from .test_bad_days import creation, is_gone, kill_control_plane, status

NAME = "pending"


def endpoints_of(site: Site) -> dict[str, str]:
    shown: dict[str, Any] = site.client("mwaa").get_environment(Name=NAME)["Environment"]
    return {name: value for name, value in shown.items() if name.endswith("VpcEndpointService")}


def test_an_environment_waits_for_its_owners_endpoints_over_a_kill_and_can_be_deleted(site: Site) -> None:
    mwaa, ec2 = site.client("mwaa"), site.client("ec2")
    subnets = ec2.describe_subnets()["Subnets"][:2]
    network = {"SubnetIds": [subnet["SubnetId"] for subnet in subnets], "SecurityGroupIds": ["sg-00000001"]}
    mwaa.create_environment(**creation(site, Name=NAME, NetworkConfiguration=network), EndpointManagement="CUSTOMER")
    wait_for("PENDING", lambda: status(site, NAME) == "PENDING")
    made = traces.row(site, NAME, site.installation.region)
    assert made is not None
    services = endpoints_of(site)
    told = site.aerodrome("env", "events", NAME).stdout
    assert all(service in told for service in services.values())
    kill_control_plane(site)
    wait_for("PENDING after a kill", lambda: status(site, NAME) == "PENDING")
    assert endpoints_of(site) == services
    assert traces.programs(site, made.id) == []
    for service in services.values():
        ec2.create_vpc_endpoint(
            VpcEndpointType="Interface",
            VpcId=subnets[0]["VpcId"],
            ServiceName=service,
            SubnetIds=network["SubnetIds"],
        )
    wait_for("CREATING", lambda: status(site, NAME) == "CREATING")
    wait_for("a component", lambda: traces.programs(site, made.id))
    mwaa.delete_environment(Name=NAME)
    wait_for("the end of the delete", lambda: is_gone(site, NAME))
    assert not site.layout.environment(made.id).exists()
    (kept,) = site.layout.kept_logs.glob(f"*.{NAME}.{made.id}")
    assert any((kept / "components").iterdir())
    found = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert set(services.values()) <= {endpoint["ServiceName"] for endpoint in found}, "they are the owner's"
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"] for endpoint in found])
