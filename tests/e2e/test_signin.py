"""Signing in through the gateway: a real browser, curl, roles, revocation."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from aerodrome.domain import versions
from support.site import Demo, Site


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,900",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.accept_insecure_certs = True  # the certificate itself is checked with curl below
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def sign_in_url(demo: Demo, prefix: str) -> str:
    token = demo.site.client("mwaa").create_web_login_token(Name=demo.name)
    return f"https://{token['WebServerHostname']}{prefix}/aws-console-sso?login=true#{token['WebToken']}"


@pytest.mark.parametrize("prefix", ["/aws_mwaa", "/pluginsv2/aws_mwaa"])
def test_a_browser_signs_in_and_sees_the_dags(
    demo: Demo, prefix: str, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    browser.get(sign_in_url(demo, prefix))
    WebDriverWait(browser, 60).until(lambda driver: "aws_mwaa" not in driver.current_url)
    browser.get(f"https://{demo.host}/{'dags' if demo.version.major >= 3 else 'home'}")
    WebDriverWait(browser, 60).until(lambda driver: "flights" in driver.find_element(By.TAG_NAME, "body").text)
    shot = tmp_path / "dags.png"
    assert browser.save_screenshot(str(shot))
    assert shot.stat().st_size > 10_000


def test_without_signing_in_a_browser_is_told_how(demo: Demo, browser: webdriver.Chrome) -> None:
    browser.get(f"https://{demo.host}/")
    assert "sign in" in browser.find_element(By.TAG_NAME, "body").text.lower()


def curl(site: Site, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", str(site.layout.ca_bundle), "--write-out", "\n%{http_code}",
         *arguments],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_the_certificate_is_trusted_through_the_bundle_and_only_so(site: Site) -> None:
    host = site.client("mwaa").get_environment(Name="demo")["Environment"]["WebserverUrl"]
    assert curl(site, f"https://{host}/")[0] in (200, 401, 403)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://{host}/", context=ssl.create_default_context(), timeout=10)


def session_token(demo: Demo) -> str:
    """As scripts do it: post the web token, take Airflow's own cookie."""
    token = demo.site.client("mwaa").create_web_login_token(Name=demo.name)
    url = f"https://{token['WebServerHostname']}{demo.version.sso_prefix}/login"
    context = ssl.create_default_context(cafile=demo.site.layout.ca_bundle)

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), Stay)
    try:
        answer = opener.open(url, data=f"token={token['WebToken']}".encode(), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code >= 400:
            raise
        answer = error
    cookies = [value for name, value in answer.headers.items() if name.lower() == "set-cookie"]
    wanted = f"{demo.version.cookie}="
    (found,) = [cookie.split(";")[0].split("=", 1)[1] for cookie in cookies if cookie.startswith(wanted)]
    assert all("Secure" in cookie for cookie in cookies if cookie.startswith(wanted))
    return found


def shown(demo: Demo, token: str) -> list[str]:
    """How a client shows the session, as curl's options."""
    if demo.version.bearer:
        return ["-H", f"Authorization: Bearer {token}"]
    return ["--cookie", f"{demo.version.cookie}={token}"]


def test_the_session_cookie_opens_the_rest_api(demo: Demo) -> None:
    token, url = session_token(demo), f"https://{demo.host}{demo.version.api_prefix}/dags"
    status, body = curl(demo.site, *shown(demo, token), url)
    assert status == 200
    assert "flights" in body
    assert curl(demo.site, url)[0] == 401
    assert curl(demo.site, *shown(demo, f"{token}x"), url)[0] == 401


def test_a_web_token_works_once(demo: Demo) -> None:
    token = demo.site.client("mwaa").create_web_login_token(Name=demo.name)
    url = f"https://{token['WebServerHostname']}/aws_mwaa/login"
    assert curl(demo.site, "--data-urlencode", f"token={token['WebToken']}", url)[0] < 400
    assert curl(demo.site, "--data-urlencode", f"token={token['WebToken']}", url)[0] == 403


def test_the_session_of_one_environment_is_nobody_in_another(site: Site, demo: Demo) -> None:
    """Side by side on one machine, each under its own address; both ways."""
    first = Demo(site, "demo", versions.get(versions.DEFAULT_VERSION), "")
    for signed_in, asked in ((first, demo), (demo, first)):
        token = session_token(signed_in)
        assert (
            curl(site, *shown(signed_in, token), f"https://{signed_in.host}{signed_in.version.api_prefix}/dags")[0]
            == 200
        )
        if asked.name != signed_in.name:
            for prefix in ("/api/v1", "/api/v2"):
                assert curl(site, *shown(signed_in, token), f"https://{asked.host}{prefix}/dags")[0] == 401


@pytest.mark.parametrize("path", ["/execution/", "/execution/health", "/%65xecution/health", "/x/../execution/health"])
def test_the_execution_api_is_not_to_be_had(demo: Demo, path: str) -> None:
    token = session_token(demo)
    status, _ = curl(demo.site, "--path-as-is", *shown(demo, token), f"https://{demo.host}{path}")
    assert status == 404


@pytest.fixture
def viewer(demo: Demo) -> Iterator[dict[str, str]]:
    """Keys of a user who may be a Viewer of the environment and nothing else."""
    site = demo.site
    iam = site.client("iam")
    account, region = site.installation.account, site.installation.region
    iam.create_user(UserName="viewer")
    allow = {
        "Effect": "Allow",
        "Action": ["airflow:CreateWebLoginToken", "airflow:InvokeRestApi"],
        "Resource": f"arn:aws:airflow:{region}:{account}:role/{demo.name}/Viewer",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="viewer", PolicyName="viewer", PolicyDocument=policy)
    key = iam.create_access_key(UserName="viewer")["AccessKey"]
    yield {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
    iam.delete_access_key(UserName="viewer", AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName="viewer", PolicyName="viewer")
    iam.delete_user(UserName="viewer")


def test_a_viewer_sees_and_changes_nothing(demo: Demo, viewer: dict[str, str]) -> None:
    mwaa = demo.site.client("mwaa", **viewer)
    assert mwaa.create_web_login_token(Name=demo.name)["AirflowIdentity"] == "user/viewer"
    assert mwaa.invoke_rest_api(Name=demo.name, Path="/dags", Method="GET")["RestApiStatusCode"] == 200
    with pytest.raises(mwaa.exceptions.RestApiClientException) as caught:
        mwaa.invoke_rest_api(Name=demo.name, Path="/dags/flights", Method="PATCH", Body={"is_paused": True})
    assert caught.value.response["RestApiStatusCode"] == 403


def test_whom_iam_does_not_allow_gets_nothing(demo: Demo, viewer: dict[str, str]) -> None:
    mwaa = demo.site.client("mwaa", **viewer)
    for call in (mwaa.get_environment, mwaa.delete_environment, mwaa.create_cli_token):
        with pytest.raises(mwaa.exceptions.ClientError) as caught:
            call(Name=demo.name)
        assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
        assert "user/viewer is not authorized to perform: airflow:" in caught.value.response["Error"]["Message"]
    elsewhere = demo.site.client("mwaa", region="eu-west-1", **viewer)
    with pytest.raises(elsewhere.exceptions.AccessDeniedException, match="No Airflow role granted in IAM"):
        elsewhere.create_web_login_token(Name=demo.name)


def test_wrong_keys_get_nowhere(site: Site) -> None:
    wrong = site.client("mwaa", secret="x" * 40)
    with pytest.raises(wrong.exceptions.ClientError) as caught:
        wrong.list_environments()
    assert caught.value.response["Error"]["Code"] in ("InvalidSignatureException", "SignatureDoesNotMatch")
    unknown = site.client("mwaa", key="AKIAUNKNOWNUNKNOWN00")
    with pytest.raises(unknown.exceptions.ClientError) as caught:
        unknown.list_environments()
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
