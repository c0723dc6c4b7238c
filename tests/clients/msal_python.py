"""Obtains tokens from the sandbox with MSAL for Python, by every flow that the sandbox offers."""

import base64
import json
import sys
from urllib.parse import parse_qsl, urlsplit

import jwt
import msal
import requests

with open(sys.argv[1]) as file:
    GIVEN = json.load(file)
AUTHORITY = f"{GIVEN['address']}/{GIVEN['tenant']}"
DEFAULT = [f"{GIVEN['address']}/.default"]
HTTP = requests.Session()
# The environment may name other authorities, and proxies.
HTTP.trust_env = False
HTTP.verify = GIVEN["ca"]


def ok(flow):
    print("ok", flow)


def application(kind, client, **more):
    # Without this the library asks login.microsoftonline.com whether it knows the host.
    return kind(client, authority=AUTHORITY, http_client=HTTP, instance_discovery=False, **more)


def confidential(client, credential):
    return application(msal.ConfidentialClientApplication, client, client_credential=credential)


def token_of(answer):
    assert "access_token" in answer, answer
    return answer["access_token"]


def refused(answer, error, code):
    assert answer.get("error") == error and code in answer.get("error_codes", []), answer


def checked_claims(token):
    """The token's signature holds under the keys that the tenant publishes."""
    configuration = HTTP.get(f"{AUTHORITY}/v2.0/.well-known/openid-configuration").json()
    keys = jwt.PyJWKSet.from_dict(HTTP.get(configuration["jwks_uri"]).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key.key, algorithms=["RS256"], audience=GIVEN["address"])


def client_credentials():
    token = token_of(confidential(GIVEN["direct"], GIVEN["secret"]).acquire_token_for_client(DEFAULT))
    claims = checked_claims(token)
    assert claims["roles"] == ["Mail.Send"] and claims["appid"] == GIVEN["direct"], claims
    ok("client credentials, secret")
    refused(confidential(GIVEN["direct"], "wrong").acquire_token_for_client(DEFAULT), "invalid_client", 7000215)
    ok("a wrong secret")
    refused(confidential(GIVEN["direct"], GIVEN["expired"]).acquire_token_for_client(DEFAULT), "invalid_client", 7000222)
    ok("an expired secret")
    answer = confidential(GIVEN["direct"], GIVEN["secret"]).acquire_token_for_client(["https://nothing.example/.default"])
    refused(answer, "invalid_resource", 500011)
    ok("an unknown resource")
    with open(GIVEN["key"]) as key, open(GIVEN["certificate"]) as certificate:
        credential = {"private_key": key.read(), "public_certificate": certificate.read()}
    token_of(confidential(GIVEN["direct"], credential).acquire_token_for_client(DEFAULT))
    ok("client credentials, certificate")
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    claims = {
        "iss": "https://issuer.example",
        "sub": "system:serviceaccount:mail:mailwright",
        "aud": "api://AzureADTokenExchange",
    }
    assertion = ".".join([part({"alg": "RS256", "typ": "JWT"}), part(claims), "c2lnbmF0dXJl"])
    token_of(confidential(GIVEN["direct"], {"client_assertion": assertion}).acquire_token_for_client(DEFAULT))
    ok("client credentials, federation")


def device_code():
    public = application(msal.PublicClientApplication, GIVEN["public"])
    flow = public.initiate_device_flow(scopes=[f"{GIVEN['address']}/User.Read"])
    assert flow["user_code"] and flow["interval"], flow
    claims = checked_claims(token_of(public.acquire_token_by_device_flow(flow)))
    assert claims["scp"].split() == ["User.Read", "openid", "profile"] or "User.Read" in claims["scp"], claims
    ok("device code")


def authorization_code():
    public = application(msal.PublicClientApplication, GIVEN["public"])
    scopes = [f"{GIVEN['address']}/Mail.Send"]
    flow = public.initiate_auth_code_flow(scopes, redirect_uri="https://localhost", login_hint=GIVEN["user"])
    page = HTTP.get(flow["auth_uri"], allow_redirects=False)
    assert page.status_code in (302, 303), page.text
    back = dict(parse_qsl(urlsplit(page.headers["location"]).query))
    answer = public.acquire_token_by_auth_code_flow(flow, back)
    first = token_of(answer)
    assert answer["id_token_claims"]["preferred_username"] == GIVEN["user"], answer
    ok("authorization code with PKCE")
    account = public.get_accounts()[0]
    second = token_of(public.acquire_token_silent(scopes, account=account, force_refresh=True))
    assert first != second
    ok("refresh token")
    again = dict(back)
    refused(public.acquire_token_by_auth_code_flow(flow, again), "invalid_grant", 54005)
    ok("a code that was redeemed")


client_credentials()
device_code()
authorization_code()
