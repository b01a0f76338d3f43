"""Tokens of tenants' own issuers, and requests signed by a shared secret, on real sockets."""

import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.fake_upstream import FakeUpstream, completion, whole
from tests.gateway_process import GatewayProcess, eventually
from tests.issuing import claims, handmade, jwks, new_pair, part
from tests.proxy import outside
from tests.proxy.conftest import calling
from tests.proxy.outside import Pairs, acme_claims, bearer, body, shopify, stamped

Headers = dict[str, str]


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return Pairs()


@pytest.fixture(scope="module")
def idp(pairs: Pairs) -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


def _publish(idp: FakeUpstream, pairs: Pairs) -> None:
    idp.at("acme").always_answers(whole(jwks(pairs.acme)))
    idp.at("flooded").always_answers(whole(jwks(pairs.flooded)))
    idp.at("rotating").always_answers(whole(jwks(pairs.before)))
    idp.at("private").always_answers(whole(jwks(pairs.acme)))
    idp.at("away").always_answers(whole(b"", status=503))


@pytest.fixture(scope="module")
def gateway(
    pairs: Pairs,
    idp: FakeUpstream,
    upstream_server: FakeUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    _publish(idp, pairs)
    with GatewayProcess(
        tmp_path_factory.mktemp("outside"),
        configuration=outside.configuration(pairs, idp, upstream_server),
        GATEWAY_ALLOWED_PRIVATE_HOSTS="127.0.0.1",
    ) as process:
        yield process


@pytest.fixture
def client(gateway: GatewayProcess, upstream: FakeUpstream) -> Iterator[httpx.Client]:
    with calling(gateway) as client:
        yield client


def ask(
    client: httpx.Client,
    headers: Any,
    alias: str = "pro",
    content: bytes | None = None,
    query: str = "",
) -> httpx.Response:
    json_type = {"content-type": "application/json"}
    return client.post(
        f"/chat/{alias}{query}", content=content or body(), headers={**json_type, **headers}
    )


def fresh_body() -> bytes:
    """One that was never signed before."""
    return body(seed=secrets.randbits(31))


def refused(answer: httpx.Response, upstream: FakeUpstream) -> dict[str, Any]:
    """The one body of all refusals, without the request's id."""
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error.pop("request_id")) == (401, answer.headers["x-request-id"])
    assert error == {
        "message": "The API key is missing, unknown, expired or revoked.",
        "type": "authentication_error",
        "code": "invalid_api_key",
        "param": None,
    }
    assert "x-gateway-record-id" not in answer.headers
    assert upstream.received == []
    return error


def record_of(gateway: GatewayProcess, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return gateway.wait_for_record(answer.headers["x-gateway-record-id"])


class TestAnIssuersToken:
    def test_names_user_tier_and_project(
        self, gateway: GatewayProcess, client: httpx.Client, pairs: Pairs
    ) -> None:
        told = acme_claims(app={"plan": "gold"}, **{"https://acme/cost": "search"})
        answer = ask(client, bearer(pairs.acme.sign(told)))
        record = record_of(gateway, answer)
        assert (record["tenant"], record["user"], record["project"]) == ("acme", "ada", "search")
        assert record["key"] == "login.acme.example"
        assert record["key_id"].startswith("issuer:")
        assert len(record["key_id"]) <= 40
        assert ask(client, bearer(pairs.acme.sign(told)), "golden").status_code == 200

    @pytest.mark.parametrize(
        "plan", ["platinum", "free", "", None, ["gold"], {"gold": 1}, 7, "Gold", "gold "]
    )
    def test_has_the_tenants_tier_where_its_own_is_not_allowed(
        self, client: httpx.Client, pairs: Pairs, plan: Any
    ) -> None:
        answer = ask(client, bearer(pairs.acme.sign(acme_claims(app={"plan": plan}))), "golden")
        assert answer.json()["error"]["code"] == "no_target_available"

    def test_may_use_what_issuer_policy_and_tenant_allow(
        self, client: httpx.Client, pairs: Pairs
    ) -> None:
        def listed(token: str) -> set[str]:
            answer = client.get("/v1/models", headers=bearer(token))
            return {model["id"] for model in answer.json()["data"]}

        wide = {"scope": "alias:* alias:safe usage:read cost:read keys:write"}
        assert listed(pairs.acme.sign(acme_claims(**wide))) == {"pro", "told", "golden"}
        inline = claims(outside.INLINE, "apps", **wide)
        assert listed(pairs.inline.sign(inline)) == {"pro", "told"}
        batch = claims(outside.PEM, "batch", **wide)
        assert listed(pairs.pem.sign(batch)) == {"pro", "told", "golden", "safe"}

    def test_brings_no_scope_of_its_own(self, client: httpx.Client, pairs: Pairs) -> None:
        token = pairs.acme.sign(acme_claims(scope="usage:read cost:read"))
        answer = client.get("/v1/usage", headers=bearer(token))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
        assert "x-gateway-cost" not in ask(client, bearer(token)).headers

    @pytest.mark.parametrize("alias", ["safe", "own"])
    def test_may_use_no_other_alias(
        self, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs, alias: str
    ) -> None:
        token = pairs.acme.sign(acme_claims(scope=f"alias:{alias}"))
        answer = ask(client, bearer(token), alias)
        assert answer.status_code in (403, 404)
        assert upstream.received == []

    def test_is_its_own_tenants_whatever_it_claims(
        self, gateway: GatewayProcess, client: httpx.Client, pairs: Pairs
    ) -> None:
        told = acme_claims(tenant_id="globex", tenant="globex", jti="1", azp="globex")
        assert record_of(gateway, ask(client, bearer(pairs.acme.sign(told))))["tenant"] == "acme"

    @pytest.mark.parametrize(
        ("signs", "issuer", "audience", "tenant"),
        [
            ("acme", outside.ACME, "gateway", "acme"),
            ("globex", outside.ACME, "globex", "globex"),
            ("inline", outside.INLINE, "apps", "acme"),
            ("other", outside.INLINE, "apps", "acme"),
            ("twin", outside.INLINE, "apps", "globex"),
            ("acme", outside.SHARED, "acme-app", "acme"),
            ("acme", outside.SHARED, "globex-app", "globex"),
            ("acme", outside.SHARED, ["other", "globex-app"], "globex"),
            ("pem", outside.PEM, "batch", "acme"),
        ],
    )
    def test_belongs_to_the_tenant_whose_issuer_audience_and_key_fit(
        self,
        gateway: GatewayProcess,
        client: httpx.Client,
        pairs: Pairs,
        signs: str,
        issuer: str,
        audience: Any,
        tenant: str,
    ) -> None:
        token = getattr(pairs, signs).sign(claims(issuer, audience))
        assert record_of(gateway, ask(client, bearer(token)))["tenant"] == tenant

    def test_that_two_tenants_could_verify_is_nobodys(
        self, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs
    ) -> None:
        token = pairs.acme.sign(claims(outside.SHARED, ["acme-app", "globex-app"]))
        refused(ask(client, bearer(token)), upstream)

    def test_needs_no_kid_where_the_issuer_has_one_key(
        self, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs
    ) -> None:
        assert ask(client, bearer(pairs.acme.sign(acme_claims(), kid=None))).status_code == 200
        upstream.reset()
        ambiguous = pairs.inline.sign(claims(outside.INLINE, "apps"), kid=None)
        refused(ask(client, bearer(ambiguous)), upstream)

    def test_lets_the_body_name_the_user_where_it_names_none_itself(
        self, gateway: GatewayProcess, client: httpx.Client, pairs: Pairs
    ) -> None:
        anonymous = pairs.pem.sign(claims(outside.PEM, "batch", sub=None))
        answer = ask(client, bearer(anonymous), content=body(user="grace"))
        assert record_of(gateway, answer)["user"] == "grace"
        named = pairs.pem.sign(claims(outside.PEM, "batch", sub="ada"))
        answer = ask(client, bearer(named), content=body(user="grace"))
        assert record_of(gateway, answer)["user"] == "ada"

    def test_may_be_a_little_ahead_of_our_clock(self, client: httpx.Client, pairs: Pairs) -> None:
        soon = int(time.time()) + 2
        token = pairs.acme.sign(acme_claims(nbf=soon, iat=soon))
        assert ask(client, bearer(token)).status_code == 200

    def test_ends_when_it_says_however_well_it_is_known(
        self, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs
    ) -> None:
        headers = bearer(pairs.acme.sign(acme_claims(exp=int(time.time()) + 2)))
        assert ask(client, headers).status_code == 200
        eventually(lambda: ask(client, headers).status_code == 401 or None, within=4)

    def test_of_a_suspended_tenant(self, client: httpx.Client, pairs: Pairs) -> None:
        answer = ask(client, bearer(pairs.acme.sign(claims(outside.SLEEPING))))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_suspended")


Forge = Callable[[Pairs], str]


def _acme(**changed: Any) -> Forge:
    return lambda pairs: pairs.acme.sign(acme_claims(**changed))


def _now(seconds: float) -> int:
    return int(time.time() + seconds)


def _header(**header: Any) -> Forge:
    return lambda pairs: pairs.acme.sign(acme_claims(), **header)


def _symmetric(secret: Callable[[Pairs], str]) -> Forge:
    header = {"alg": "HS256", "typ": "JWT", "kid": "acme-1"}
    return lambda pairs: handmade(header, acme_claims(), secret(pairs).encode())


def _by_a_stranger(**header: Any) -> Forge:
    """Signed by a key that its own header brings along, or says where to find."""

    def forge(pairs: Pairs) -> str:
        given = {name: value(pairs) if callable(value) else value for name, value in header.items()}
        return pairs.stranger.sign(acme_claims(), **given)

    return forge


def _retold(pairs: Pairs) -> str:
    head, _, signature = pairs.acme.sign(acme_claims()).split(".")
    return f"{head}.{part(acme_claims(sub='root'))}.{signature}"


ATTACKS: dict[str, Forge] = {
    "expired": lambda pairs: pairs.acme.sign(acme_claims(exp=_now(-1), iat=_now(-99))),
    "no expiry": _acme(exp=None),
    "not yet valid": lambda pairs: pairs.acme.sign(acme_claims(nbf=_now(60))),
    "issued tomorrow": lambda pairs: pairs.acme.sign(acme_claims(iat=_now(86_400))),
    "a wrong audience": _acme(aud="somebody-else"),
    "another tenant's audience": _acme(aud="globex"),
    "no audience": _acme(aud=None),
    "an empty audience": _acme(aud=[]),
    "a wrong issuer": _acme(iss="https://login.evil.example/"),
    "an issuer that is nearly right": _acme(iss=outside.ACME.rstrip("/")),
    "no issuer": _acme(iss=None),
    "a list of issuers": _acme(iss=[outside.ACME]),
    "the gateway's own issuer": _acme(iss="gateway", tenant_id="acme", jti="1", scope="alias:*"),
    "another of the tenant's issuers": _acme(iss=outside.INLINE, aud="apps"),
    "another tenant's issuer": lambda pairs: pairs.acme.sign(claims(outside.ACME, "globex")),
    "another tenant's key": lambda pairs: pairs.globex.sign(acme_claims()),
    "another tenant's key by our kid": lambda pairs: pairs.globex.sign(acme_claims(), kid="acme-1"),
    "no user where one is mapped": _acme(sub=None),
    "none": lambda pairs: handmade({"alg": "none", "kid": "acme-1"}, acme_claims(), None),
    "nOnE": lambda pairs: handmade({"alg": "nOnE", "kid": "acme-1"}, acme_claims(), None),
    "none with a signature": lambda pairs: handmade(
        {"alg": "none", "kid": "acme-1"}, acme_claims(), b"x"
    ),
    "HS256 by the public key": _symmetric(lambda pairs: pairs.acme.pem),
    "HS256 by the public key, trimmed": _symmetric(lambda pairs: pairs.acme.pem.strip()),
    "HS256 by the JWK": _symmetric(lambda pairs: json.dumps(pairs.acme.jwk)),
    "HS256 by the kid": _symmetric(lambda pairs: "acme-1"),
    "HS256 by a PEM issuer's key": lambda pairs: handmade(
        {"alg": "HS256"}, claims(outside.PEM, "batch"), pairs.pem.pem.encode()
    ),
    "an algorithm that the JWK is not for": lambda pairs: type(pairs.acme)(
        "acme-1", "PS256", pairs.acme.private
    ).sign(acme_claims()),
    "another curve": lambda pairs: new_pair("inline-1", "ES256").sign(
        claims(outside.INLINE, "apps")
    ),
    "an unknown kid": _header(kid="acme-2"),
    "a path for a kid": _header(kid="../../../dev/null"),
    "a URL for a kid": _header(kid="http://127.0.0.1:1/evil#acme-1"),
    "an injection for a kid": _header(kid="acme-1' OR '1'='1"),
    "a kid with a null": _header(kid="acme-1\x00"),
    "an endless kid": _header(kid="a" * 4_000),
    "an empty kid": _header(kid=""),
    "a stranger's signature": _by_a_stranger(),
    "its own key in jwk": _by_a_stranger(jwk=lambda pairs: pairs.stranger.jwk),
    "its own keys behind jku": _by_a_stranger(jku="http://127.0.0.1:{port}/evil/jwks.json"),
    "its own certificate behind x5u": _by_a_stranger(x5u="http://127.0.0.1:{port}/evil/cert.pem"),
    "its own certificate in x5c": _by_a_stranger(x5c=["MIIB"]),
    "what must be understood": _header(crit=["exp"], exp=1),
    "another payload": _retold,
    "no signature": lambda pairs: pairs.acme.sign(acme_claims()).rpartition(".")[0] + ".",
    "a signature cut short": lambda pairs: pairs.acme.sign(acme_claims())[:-8],
    "a payload nested deeply": lambda pairs: ".".join(
        [
            part({"alg": "RS256", "kid": "acme-1"}),
            base64.urlsafe_b64encode(b'{"iss":' + b"[" * 2000).decode().rstrip("="),
            "c2ln",
        ]
    ),
}


class TestForgedTokens:
    @pytest.mark.parametrize("attack", ATTACKS)
    @pytest.mark.parametrize("door", ["/chat/pro", "/v1/models"])
    def test_are_refused(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        idp: FakeUpstream,
        pairs: Pairs,
        attack: str,
        door: str,
    ) -> None:
        good = bearer(pairs.acme.sign(acme_claims()))
        assert client.get("/v1/models", headers=good).status_code == 200
        headers = bearer(ATTACKS[attack](pairs))
        if door == "/v1/models":
            refused(client.get(door, headers=headers), upstream)
        else:
            refused(ask(client, headers), upstream)
        assert idp.at_path("evil") == []

    def test_by_two_credentials_that_disagree(
        self, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs
    ) -> None:
        ours, theirs = (pairs.acme.sign(acme_claims(sub=name)) for name in ("ada", "bob"))
        refused(ask(client, {**bearer(ours), "x-api-key": theirs}), upstream)

    def test_one_alias_of_another_tenant_is_not_there(
        self, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs
    ) -> None:
        assert ask(client, bearer(pairs.acme.sign(acme_claims())), "own").status_code == 404
        assert upstream.received == []
        globex = pairs.globex.sign(claims(outside.ACME, "globex"))
        assert ask(client, bearer(globex), "own").status_code == 200


class TestKeysBehindAUrl:
    def test_are_fetched_once_and_a_flood_of_unknown_kids_costs_one_fetch_more(
        self, client: httpx.Client, upstream: FakeUpstream, idp: FakeUpstream, pairs: Pairs
    ) -> None:
        told = claims(outside.FLOODED)
        for _ in range(10):
            assert ask(client, bearer(pairs.flooded.sign(told))).status_code == 200
        assert len(idp.at_path("flooded")) == 1
        for number in range(60):
            forged = pairs.stranger.sign(told, kid=f"flood-{number}")
            assert ask(client, bearer(forged)).status_code == 401
        assert len(idp.at_path("flooded")) == 2
        assert ask(client, bearer(pairs.flooded.sign(told))).status_code == 200

    def test_rotate_without_a_restart_or_a_wait(
        self, client: httpx.Client, upstream: FakeUpstream, idp: FakeUpstream, pairs: Pairs
    ) -> None:
        told = claims(outside.ROTATING)
        assert ask(client, bearer(pairs.before.sign(told))).status_code == 200
        idp.at("rotating").always_answers(whole(jwks(pairs.after)))
        assert ask(client, bearer(pairs.after.sign(told))).status_code == 200
        upstream.reset()
        refused(ask(client, bearer(pairs.before.sign(told))), upstream)
        assert len(idp.at_path("rotating")) == 2

    @pytest.mark.parametrize("issuer", [outside.AWAY, outside.PRIVATE])
    def test_that_cannot_be_had_are_not_the_callers_fault(
        self, client: httpx.Client, idp: FakeUpstream, pairs: Pairs, issuer: str
    ) -> None:
        answer = ask(client, bearer(pairs.acme.sign(claims(issuer))))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert idp.at_path("private") == []


# ---- signed requests


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


class TestASignedRequest:
    def test_is_its_signers(
        self, gateway: GatewayProcess, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        sent = body(user="grace")
        record = record_of(gateway, ask(client, shopify(sent), content=sent))
        assert (record["tenant"], record["key"], record["user"]) == ("acme", "shopify", "grace")
        assert record["key_id"].startswith("signer:")
        assert len(record["key_id"]) <= 40
        assert upstream.received[0].json()["messages"][0]["content"] == "Say hello, please."

    @pytest.mark.parametrize("query", ["?signer=acme/shopify", "?a=b&signer=acme%2Fshopify"])
    def test_may_name_its_signer_in_the_query(self, client: httpx.Client, query: str) -> None:
        headers = shopify(body())
        assert ask(client, headers, query=query).status_code == 200
        del headers["x-gateway-signer"]
        assert ask(client, headers, query=query).status_code == 200

    def test_may_use_what_signer_and_tenant_allow(self, client: httpx.Client) -> None:
        assert ask(client, shopify(body()), "told").status_code == 200
        assert ask(client, shopify(body()), "safe").status_code == 403
        globex = shopify(body(), outside.GLOBEX_SECRET, "globex/shopify")
        assert ask(client, globex, "own").status_code == 200
        assert ask(client, globex, "safe").status_code == 403

    def test_may_be_sent_in_pieces(self, gateway: GatewayProcess, upstream: FakeUpstream) -> None:
        sent = body(user="grace" * 1000)
        with calling(gateway) as client:
            headers = {"content-type": "application/json", **shopify(sent)}
            pieces = iter([sent[:10], sent[10:3000], sent[3000:]])
            assert client.post("/chat/pro", content=pieces, headers=headers).status_code == 200

    def test_may_carry_a_timestamp(self, client: httpx.Client) -> None:
        for age in (0, 100, -100):
            sent = fresh_body()
            assert ask(client, stamped(sent, age=age), content=sent).status_code == 200

    def test_of_a_suspended_tenant(self, client: httpx.Client) -> None:
        digest = _base64(outside.hmac_of(outside.SECRET, body()))
        answer = ask(client, {"x-gateway-signer": "sleeping/shop", "x-hmac": digest})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_suspended")

    def test_that_is_not_json_is_refused_for_that(self, client: httpx.Client) -> None:
        for sent in (b"", b"no JSON"):
            answer = client.post("/chat/pro", content=sent, headers=shopify(sent))
            assert answer.status_code == 400

    def test_asks_for_an_alias_that_is_not_there(self, client: httpx.Client) -> None:
        sent = fresh_body()
        assert ask(client, stamped(sent), "nope", content=sent).status_code == 404


def _with(headers: Any, **changed: str | None) -> Headers:
    merged = {**headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def _digest_of(secret: str, signed: bytes) -> Headers:
    return shopify(signed, secret)


SIGNED_ATTACKS: dict[str, Callable[[], Headers]] = {
    "another secret": lambda: shopify(body(), "guess"),
    "another body": lambda: shopify(body(user="x")),
    "another tenant's signature": lambda: shopify(body(), outside.GLOBEX_SECRET),
    "another tenant's signer": lambda: shopify(body(), outside.SECRET, "globex/shopify"),
    "another signer of the tenant": lambda: shopify(body(), outside.STAMPED_SECRET),
    "a signer that does not exist": lambda: shopify(body(), signer="acme/nobody"),
    "a tenant that does not exist": lambda: shopify(body(), signer="nobody/shopify"),
    "a signer without a tenant": lambda: shopify(body(), signer="shopify"),
    "an empty signer": lambda: shopify(body(), signer=""),
    "a path for a signer": lambda: shopify(body(), signer="globex/../acme/shopify"),
    "no signature": lambda: _with(shopify(body()), x_shopify_hmac_sha256=None),
    "an empty signature": lambda: _with(shopify(body()), x_shopify_hmac_sha256=""),
    "a signature that is no base64": lambda: _with(shopify(body()), x_shopify_hmac_sha256="!"),
    "a signature of half the length": lambda: _with(
        shopify(body()), x_shopify_hmac_sha256=_base64(bytes(16))
    ),
    "hex where base64 is said": lambda: _with(
        shopify(body()), x_shopify_hmac_sha256=outside.hmac_of(outside.SECRET, body()).hex()
    ),
    "no signer": lambda: _with(shopify(body()), x_gateway_signer=None),
    "a bare hash": lambda: _with(shopify(body()), x_shopify_hmac_sha256=_base64(bytes(32))),
    "no timestamp": lambda: dict(stamped(body(), x_timestamp=None)),
    "an empty timestamp": lambda: dict(stamped(body(), x_timestamp="")),
    "a timestamp in words": lambda: dict(stamped(body(), x_timestamp="now")),
    "a negative timestamp": lambda: dict(stamped(body(), x_timestamp="-1")),
    "another timestamp": lambda: dict(stamped(body(), x_timestamp=str(_now(-3)))),
    "an old timestamp": lambda: dict(stamped(body(), age=125)),
    "a timestamp to come": lambda: dict(stamped(body(), age=-125)),
    "a timestamp that is not signed": lambda: dict(
        stamped(body(), x_signature=outside.hmac_of(outside.STAMPED_SECRET, body()).hex())
    ),
    "another secret, with a timestamp": lambda: dict(stamped(body(), secret="guess")),
}


class TestForgedSignatures:
    @pytest.mark.parametrize("attack", SIGNED_ATTACKS)
    def test_are_refused(self, client: httpx.Client, upstream: FakeUpstream, attack: str) -> None:
        refused(ask(client, SIGNED_ATTACKS[attack]()), upstream)

    def test_used_twice_within_the_tolerance(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        sent = fresh_body()
        headers = dict(stamped(sent, age=7))
        assert ask(client, headers, content=sent).status_code == 200
        upstream.reset()
        for signature in (headers["x-signature"], headers["x-signature"].upper()):
            for alias in ("pro", "told"):
                again = {**headers, "x-signature": signature}
                refused(ask(client, again, alias, content=sent), upstream)

    def test_two_signers_that_disagree(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        refused(ask(client, shopify(body()), query="?signer=acme/stamped"), upstream)
        refused(ask(client, shopify(body()), query="?signer=acme/shopify&signer=x"), upstream)

    def test_beside_another_credential_even_of_the_same_tenant(
        self, gateway: GatewayProcess, client: httpx.Client, upstream: FakeUpstream, pairs: Pairs
    ) -> None:
        for other in (gateway.issue_key("acme").token, pairs.acme.sign(acme_claims())):
            refused(ask(client, {**shopify(body()), **bearer(other)}), upstream)
            refused(ask(client, {**shopify(body()), "x-api-key": other}), upstream)
            refused(ask(client, bearer(other), query="?signer=acme/shopify"), upstream)

    def test_where_there_is_no_body(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        refused(client.get("/v1/models", headers=shopify(b"")), upstream)

    @pytest.mark.parametrize(
        "attack", ["a signer that does not exist", "an empty signature", "an old timestamp"]
    )
    def test_the_body_is_not_waited_for_where_it_could_not_help(
        self, gateway: GatewayProcess, upstream: FakeUpstream, attack: str
    ) -> None:
        headers = {"host": "gateway", "content-length": "1000", **SIGNED_ATTACKS[attack]()}
        lines = ["POST /chat/pro HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as peer:
            peer.sendall("\r\n".join(lines).encode())
            assert peer.recv(1000).startswith(b"HTTP/1.1 401 ")
        assert upstream.received == []

    def test_a_body_that_is_too_large_is_told_so(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        large = body(user="x" * 100_000)
        assert ask(client, shopify(large), content=large).status_code == 413
        assert upstream.received == []


# ---- what the provider is told

SPOOFED = {
    "x-tenant-id": "globex",
    "x-user-id": "root",
    "X-User-ID": "root",
    "x-who": "spoofed",
    "x-gateway-tier": "gold",
    "x-forwarded-user": "root",
}


def _kinds(gateway: GatewayProcess, pairs: Pairs) -> dict[str, tuple[Headers, str, str]]:
    """Headers, user and who, of each kind of credential."""
    key = gateway.issue_key("acme", "worker", user="ada").token
    opaque = gateway.issue_key("acme", "worker", user="ada", opaque=True).token
    return {
        "JWT": (bearer(key), "ada", "/worker/free"),
        "opaque": (bearer(opaque), "ada", "/worker/free"),
        "issuer": (bearer(pairs.acme.sign(acme_claims())), "ada", "/login.acme.example/free"),
        "signed": (shopify(body()), "", "/shopify/free"),
        "stamped": ({}, "", "/stamped/free"),
    }


@pytest.mark.parametrize("kind", ["JWT", "opaque", "issuer", "signed", "stamped"])
def test_a_provider_is_told_by_the_gateway_alone_who_asks(
    gateway: GatewayProcess,
    client: httpx.Client,
    upstream: FakeUpstream,
    pairs: Pairs,
    kind: str,
) -> None:
    headers, user, who = _kinds(gateway, pairs)[kind]
    for alias in ("told", "pro"):
        upstream.reset()
        sent = body()
        if kind == "stamped":
            sent = fresh_body()
            headers = dict(stamped(sent))
        assert ask(client, {**SPOOFED, **headers}, alias, content=sent).status_code == 200
        [received] = upstream.received
        told = {"x-tenant-id": "acme", "x-user-id": user, "x-who": who}
        for name in {name.lower() for name in (*SPOOFED, *headers)} - {"authorization"}:
            expected = told.get(name) if alias == "told" else None
            assert received.header(name) == expected, name
        assert received.header("authorization") == "Bearer sk-first-Zx81-never-to-be-seen"


# ---- changes


class TestChangesAreLive:
    def test_what_is_removed_is_refused_within_a_second(
        self,
        gateway: GatewayProcess,
        client: httpx.Client,
        pairs: Pairs,
        idp: FakeUpstream,
        upstream_server: FakeUpstream,
    ) -> None:
        upstream_server.at("first").always_answers(whole(completion()))
        token = bearer(pairs.inline.sign(claims(outside.INLINE, "apps")))
        signed = shopify(body())
        assert ask(client, token).status_code == ask(client, signed).status_code == 200
        document = outside.configuration(pairs, idp, upstream_server)
        acme = document["tenants"]["acme"]
        acme["issuers"] = [one for one in acme["issuers"] if one["issuer"] != outside.INLINE]
        acme["hmac"] = [one for one in acme["hmac"] if one["name"] != "shopify"]
        path = gateway.folder / "removed.yaml"
        path.write_text(yaml.safe_dump(document))
        gateway.clerk.manage("apply_config", path, "--prune")
        changed = time.monotonic()
        for headers in (token, signed):
            eventually(
                lambda headers=headers: ask(client, headers).status_code == 401 or None,  # type: ignore[misc]
                within=3,
            )
        assert time.monotonic() - changed < 1
        gateway.apply(outside.configuration(pairs, idp, upstream_server))
        for headers in (token, signed):
            assert ask(client, headers).status_code == 200

    def test_a_secret_is_replaced(
        self,
        gateway: GatewayProcess,
        client: httpx.Client,
        pairs: Pairs,
        idp: FakeUpstream,
        upstream_server: FakeUpstream,
    ) -> None:
        document = outside.configuration(pairs, idp, upstream_server)
        document["tenants"]["acme"]["hmac"][0]["secret"] = "fresh"
        gateway.apply(document)
        try:
            assert ask(client, shopify(body(), "fresh")).status_code == 200
            assert ask(client, shopify(body())).status_code == 401
        finally:
            gateway.apply(outside.configuration(pairs, idp, upstream_server))

    def test_no_token_signature_or_secret_is_logged(
        self, gateway: GatewayProcess, client: httpx.Client, pairs: Pairs
    ) -> None:
        token = pairs.acme.sign(acme_claims())
        headers = shopify(body())
        ask(client, bearer(token))
        ask(client, bearer(token + "x"))
        ask(client, headers)
        ask(client, _with(headers, x_gateway_signer="acme/nobody"))
        log = gateway.log()
        for secret in (token, token.split(".")[2], headers["x-shopify-hmac-sha256"]):
            assert secret not in log
        assert outside.SECRET not in log
