"""Who may ask for what: credentials good, bad and forged, and what a key may do."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fake_upstream import FakeUpstream
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.conftest import Issue, ask, calling

Claims = dict[str, Any]


def _decoded(token: str) -> tuple[Claims, Claims]:
    """Header and claims of a token, unverified."""
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def _part(data: Claims) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def signer(gateway: GatewayProcess, key: IssuedKey) -> tuple[str, str]:
    """The private key that signed `key`, which nobody outside the gateway can have, and its public
    one."""
    [row] = gateway.clerk.rows("tenants.SigningKey", kid=_decoded(key.token)[0]["kid"])
    return row["private_key"], row["public_key"]


def _own_key() -> str:
    """A key pair that is not the gateway's."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _unsigned(header: Claims, claims: Claims) -> str:
    return f"{_part({**header, 'alg': 'none'})}.{_part(claims)}."


def _unsigned_with_a_signature(header: Claims, claims: Claims) -> str:
    return f"{_part({**header, 'alg': 'none'})}.{_part(claims)}.c2lnbmF0dXJl"


def _resigned(**changes: Any) -> Callable[[Claims, Claims, str, str], str]:
    """Signed by the gateway's own key, with other claims; None leaves one out."""

    def forge(header: Claims, claims: Claims, private: str, public: str) -> str:
        merged = {**claims, **changes}
        told = {name: value for name, value in merged.items() if value is not None}
        return jwt.encode(told, private, algorithm="ES256", headers={"kid": header["kid"]})

    return forge


def _hmac_with_the_public_key(header: Claims, claims: Claims, private: str, public: str) -> str:
    signed = f"{_part({**header, 'alg': 'HS256'})}.{_part(claims)}"
    digest = hmac.new(public.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _another_installations(kid: str) -> Callable[[Claims, Claims, str, str], str]:
    def forge(header: Claims, claims: Claims, private: str, public: str) -> str:
        return jwt.encode(
            claims, _own_key(), algorithm="ES256", headers={"kid": kid or header["kid"]}
        )

    return forge


def _tampered(header: Claims, claims: Claims, private: str, public: str) -> str:
    good = jwt.encode(claims, private, algorithm="ES256", headers={"kid": header["kid"]})
    head, _, signature = good.split(".")
    return f"{head}.{_part({**claims, 'tenant_id': 'globex'})}.{signature}"


FORGERIES: dict[str, Callable[[Claims, Claims, str, str], str]] = {
    "alg none": lambda header, claims, *_: _unsigned(header, claims),
    "alg none with a signature": lambda header, claims, *_: _unsigned_with_a_signature(
        header, claims
    ),
    "HS256 with the public key": _hmac_with_the_public_key,
    "a wrong audience": _resigned(aud="another"),
    "no audience": _resigned(aud=None),
    "a wrong issuer": _resigned(iss="https://evil.example"),
    "no expiry": _resigned(exp=None),
    "expired": _resigned(exp=int(time.time()) - 5),
    "another tenant": _resigned(tenant_id="globex"),
    "a key that was never issued": _resigned(jti="0123456789abcdef01234567"),
    "no key": _resigned(jti=None),
    "an unknown kid": _another_installations("feedfacefeedface"),
    "another installation's key": _another_installations(""),
    "a tampered payload": _tampered,
    "an injected key id": lambda header, claims, private, _: jwt.encode(
        claims, private, algorithm="ES256", headers={"kid": "' OR 1=1 --"}
    ),
}

BAD: dict[str, Callable[[str], dict[str, str]]] = {
    "none": lambda good: {},
    "empty": lambda good: {"authorization": "Bearer"},
    "not a bearer": lambda good: {"authorization": f"Basic {good}"},
    "nonsense": lambda good: {"authorization": "Bearer sk-nonsense"},
    "three dots": lambda good: {"authorization": "Bearer a.b.c"},
    "an unknown opaque key": lambda good: {"x-api-key": "gwk_" + "A" * 43},
    "very long": lambda good: {"x-api-key": "x" * 9000},
    "cut off": lambda good: {"authorization": f"Bearer {good[:-4]}"},
    "longer": lambda good: {"authorization": f"Bearer {good}A"},
    "two that disagree": lambda good: {"authorization": f"Bearer {good}", "x-api-key": "other"},
}


def _refused(answer: httpx.Response, upstream: FakeUpstream) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (401, "invalid_api_key")
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "x-gateway-record-id" not in answer.headers
    assert upstream.received == []
    return {name: value for name, value in error.items() if name != "request_id"}


class TestForgeries:
    @pytest.mark.parametrize("kind", FORGERIES)
    def test_are_refused(
        self,
        gateway: GatewayProcess,
        upstream: FakeUpstream,
        key: IssuedKey,
        signer: tuple[str, str],
        kind: str,
    ) -> None:
        header, claims = _decoded(key.token)
        forged = FORGERIES[kind](header, claims, *signer)
        with calling(gateway) as caller:
            headers = {"authorization": f"Bearer {forged}"}
            _refused(caller.post("/chat/pro", json=ask(), headers=headers), upstream)

    def test_what_forges_can_also_make_a_good_one(
        self,
        gateway: GatewayProcess,
        upstream: FakeUpstream,
        key: IssuedKey,
        signer: tuple[str, str],
    ) -> None:
        header, claims = _decoded(key.token)
        good = _resigned()(header, claims, *signer)
        with calling(gateway) as caller:
            headers = {"authorization": f"Bearer {good}"}
            assert caller.post("/chat/pro", json=ask(), headers=headers).status_code == 200


class TestBadCredentials:
    @pytest.mark.parametrize("kind", BAD)
    @pytest.mark.parametrize("path", ["/chat/pro", "/v1/models"])
    def test_are_refused(
        self,
        gateway: GatewayProcess,
        upstream: FakeUpstream,
        key: IssuedKey,
        kind: str,
        path: str,
    ) -> None:
        with calling(gateway) as caller:
            headers = BAD[kind](key.token)
            if path == "/v1/models":
                _refused(caller.get(path, headers=headers), upstream)
            else:
                _refused(caller.post(path, json=ask(), headers=headers), upstream)

    def test_all_are_told_the_same(
        self, gateway: GatewayProcess, upstream: FakeUpstream, key: IssuedKey
    ) -> None:
        with calling(gateway) as caller:
            told = [
                _refused(caller.post("/chat/pro", json=ask(), headers=bad(key.token)), upstream)
                for bad in BAD.values()
            ]
        assert all(one == told[0] for one in told)

    def test_are_logged_and_counted_without_the_token(
        self, gateway: GatewayProcess, upstream: FakeUpstream
    ) -> None:
        before = gateway.refusals(tenant="").get("invalid_api_key", 0)
        token = "gwk_a-token-that-must-not-be-logged-0123456789"
        with calling(gateway, headers={"x-api-key": token}) as caller:
            answer = caller.post("/chat/pro", json=ask(), headers={"x-request-id": "logged-1"})
        assert answer.status_code == 401
        eventually(
            lambda: gateway.refusals(tenant="").get("invalid_api_key", 0) > before or None, within=3
        )
        [line] = [line for line in gateway.log_lines("refused") if line["request_id"] == "logged-1"]
        assert (line["status"], line["code"]) == (401, "invalid_api_key")
        assert token not in gateway.log()


class TestGoodCredentials:
    @pytest.mark.parametrize("opaque", [False, True], ids=["JWT", "opaque"])
    @pytest.mark.parametrize(
        "header", ["authorization", "x-api-key", "x-gateway-key", "x-goog-api-key"]
    )
    def test_come_in_any_of_four_headers(
        self,
        gateway: GatewayProcess,
        upstream: FakeUpstream,
        issue: Issue,
        header: str,
        opaque: bool,
    ) -> None:
        token = issue("acme", **({"opaque": True} if opaque else {})).token
        value = f"Bearer {token}" if header == "authorization" else token
        with calling(gateway, headers={header: value}) as caller:
            assert caller.post("/chat/pro", json=ask()).status_code == 200

    def test_may_come_twice_if_they_agree(
        self, gateway: GatewayProcess, upstream: FakeUpstream, key: IssuedKey
    ) -> None:
        with calling(gateway, key, headers={"x-api-key": key.token}) as caller:
            assert caller.post("/chat/pro", json=ask()).status_code == 200

    def test_work_as_soon_as_they_are_issued(
        self, gateway: GatewayProcess, upstream: FakeUpstream
    ) -> None:
        for number in range(8):
            with calling(gateway, gateway.issue_key("acme", f"fresh-{number}")) as caller:
                assert caller.post("/chat/pro", json=ask()).status_code == 200

    def test_carry_what_the_contract_names(self, key: IssuedKey) -> None:
        header, claims = _decoded(key.token)
        assert header["kid"]
        assert header["alg"] == "ES256"
        assert {"iss", "aud", "tenant_id", "sub", "jti", "scope", "tier", "project", "iat"} < set(
            claims
        )
        assert (claims["iss"], claims["aud"]) == ("gateway", "gateway")
        assert (claims["jti"], claims["scope"]) == (key.key_id, "alias:*")


class TestTheEndOfAKey:
    @pytest.mark.parametrize("opaque", [False, True], ids=["JWT", "opaque"])
    def test_it_expires(
        self, gateway: GatewayProcess, upstream: FakeUpstream, opaque: bool
    ) -> None:
        key = gateway.issue_key("acme", "brief", ttl="2s", **({"opaque": True} if opaque else {}))
        with calling(gateway, key) as caller:
            assert caller.post("/chat/pro", json=ask()).status_code == 200
            eventually(
                lambda: caller.post("/chat/pro", json=ask()).status_code == 401 or None, within=3.5
            )

    @pytest.mark.parametrize("opaque", [False, True], ids=["JWT", "opaque"])
    def test_it_is_revoked_within_a_second_on_a_running_gateway(
        self, gateway: GatewayProcess, upstream: FakeUpstream, opaque: bool
    ) -> None:
        key = gateway.issue_key("acme", "doomed", **({"opaque": True} if opaque else {}))
        with calling(gateway, key) as caller:
            assert caller.post("/chat/pro", json=ask()).status_code == 200
            gateway.clerk.manage("revoke_key", key.key_id)
            revoked = time.monotonic()
            eventually(
                lambda: caller.post("/chat/pro", json=ask()).status_code == 401 or None, within=3
            )
            assert time.monotonic() - revoked < 1
            upstream.reset()
            for _ in range(3):
                _refused(caller.post("/chat/pro", json=ask()), upstream)

    def test_it_is_replaced_and_works_on_for_its_grace(
        self, gateway: GatewayProcess, upstream: FakeUpstream
    ) -> None:
        old = gateway.issue_key("acme", "rotated", alias="pro")
        printed = gateway.clerk.manage("rotate_key", old.key_id, "--grace", "2s", "--json")
        issued = json.loads(printed)
        new = IssuedKey(issued["token"], issued["key_id"])
        with calling(gateway, old) as before, calling(gateway, new) as after:
            assert after.post("/chat/pro", json=ask()).status_code == 200
            assert after.post("/chat/safe", json=ask()).status_code == 403
            assert before.post("/chat/pro", json=ask()).status_code == 200
            eventually(
                lambda: before.post("/chat/pro", json=ask()).status_code == 401 or None, within=4
            )
            assert after.post("/chat/pro", json=ask()).status_code == 200

    def test_the_signing_key_is_rotated_and_both_verify(
        self, gateway: GatewayProcess, upstream: FakeUpstream
    ) -> None:
        old = gateway.issue_key("acme", "before")
        gateway.clerk.manage("rotate_signing_key")
        new = gateway.issue_key("acme", "after")
        assert _decoded(old.token)[0]["kid"] != _decoded(new.token)[0]["kid"]
        for key in (new, old):
            with calling(gateway, key) as caller:
                assert caller.post("/chat/pro", json=ask()).status_code == 200


def _listed(gateway: GatewayProcess, key: IssuedKey) -> set[str]:
    with calling(gateway, key) as caller:
        answer = caller.get("/v1/models")
    assert answer.status_code == 200
    return {model["id"] for model in answer.json()["data"]}


class TestWhatAKeyMayDo:
    """Its token, its policy and its tenant together."""

    def test_an_alias_outside_the_tokens_scope(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        narrow = issue("acme", alias=["safe", "told"])
        with calling(gateway, narrow) as caller:
            answer = caller.post("/chat/pro", json=ask())
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403,
                "alias_not_allowed",
            )
            assert upstream.received == []
            assert caller.post("/chat/safe", json=ask()).status_code == 200
        assert _listed(gateway, narrow) == {"safe", "told"}

    def test_an_alias_outside_the_policy_of_its_name(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        frontend = issue("acme", name="frontend")
        with calling(gateway, frontend) as caller:
            assert caller.post("/chat/told", json=ask()).status_code == 403
            assert caller.post("/chat/pro", json=ask()).status_code == 200
        assert _listed(gateway, frontend) == {"pro", "safe"}
        assert _listed(gateway, issue("acme", name="frontend", alias=["pro", "told"])) == {"pro"}

    def test_an_alias_outside_its_tenants(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        with calling(gateway, issue("globex")) as caller:
            assert caller.post("/chat/safe", json=ask()).status_code == 403
            assert caller.post("/chat/pro", json=ask()).status_code == 200
        assert _listed(gateway, issue("globex")) == {"pro", "told"}

    def test_an_alias_that_nobody_has_names_those_that_it_may_use(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        with calling(gateway, issue("acme", alias=["safe", "told"])) as caller:
            for answer in (
                caller.post("/chat/nope", json=ask()),
                caller.post("/v1/chat/completions", json=ask(model="nope")),
            ):
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (404, "alias_not_found")
                assert "safe" in error["message"]
                assert "told" in error["message"]
                assert "picky" not in error["message"]
        assert upstream.received == []

    def test_one_model_is_shown_only_to_those_who_may_use_it(
        self, gateway: GatewayProcess, issue: Issue
    ) -> None:
        with calling(gateway, issue("globex")) as caller:
            assert caller.get("/v1/models/pro").json()["id"] == "pro"
            assert caller.get("/v1/models/safe").status_code == 404
            assert caller.get("/v1/models/nope").status_code == 404

    def test_a_suspended_tenant(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        with calling(gateway, issue("sleeping")) as caller:
            answer = caller.post("/chat/pro", json=ask())
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_suspended")
        assert upstream.received == []
        eventually(lambda: gateway.refusals(tenant="sleeping").get("tenant_suspended"), within=3)

    def test_its_own_usage_only_with_the_scope_for_it(
        self, gateway: GatewayProcess, issue: Issue, key: IssuedKey
    ) -> None:
        with calling(gateway, key) as caller:
            answer = caller.get("/v1/usage")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
        with calling(gateway, issue("globex", scope="usage:read")) as caller:
            answer = caller.get("/v1/usage?by=alias")
        assert answer.status_code == 200
        assert {"from", "to", "by", "rows", "total"} <= set(answer.json())
