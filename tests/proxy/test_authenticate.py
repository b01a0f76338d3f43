"""Credentials in, callers out: what is forged is refused, and nobody may more than all agree on."""

import base64
import dataclasses
import hashlib
import hmac
import json
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from billing.snapshots import BillingSnapshot
from proxy import authenticate
from proxy.authenticate import LONGEST_TOKEN, Authenticator, Caller, read_token
from proxy.errors import Unauthenticated
from proxy.snapshot import Snapshot
from routing.snapshots import DEFAULT_FALLBACK_ON, AliasSnapshot, RoutingSnapshot
from tenants.snapshots import KeySnapshot, KeysSnapshot, PolicySnapshot, TenantSnapshot

Claims = dict[str, Any]

OURS, THEIRS = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
OURS_384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = OURS.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
KID = "ours"
YEAR = 365 * 86_400


# ---- the world


def _alias(name: str, tenant: str = "") -> AliasSnapshot:
    return AliasSnapshot(name, tenant, "", "chat", (), (), DEFAULT_FALLBACK_ON)


def _tenant(
    name: str, *, aliases: Iterable[str] = ("*",), policies: Mapping[str, Any] | None = None
) -> TenantSnapshot:
    return TenantSnapshot(
        name=name,
        tier="free",
        suspended=False,
        aliases=frozenset(aliases),
        price_book="standard",
        timezone="UTC",
        cors_origins=frozenset(),
        on_disconnect="delivered",
        quarantines_unpriced=False,
        policies=policies or {},
    )


def _key(key_id: str, tenant: str = "acme", **options: Any) -> KeySnapshot:
    facts: dict[str, Any] = {
        "key_id": key_id,
        "tenant": tenant,
        "name": "frontend",
        "project": "",
        "scopes": frozenset({"alias:*"}),
        "user": "",
        "tier": "",
        "ends_at": time.time() + YEAR,
    }
    return KeySnapshot(**{**facts, **options})


class _Rows(dict[Any, Any]):
    """A dictionary that a test can watch being forgotten."""


def _world(
    *,
    tenants: Iterable[TenantSnapshot] = (),
    keys: Iterable[KeySnapshot] = (),
    opaque: Mapping[str, KeySnapshot] | None = None,
    aliases: Iterable[AliasSnapshot] = (),
    signers: Mapping[str, Any] | None = None,
) -> Snapshot:
    tenants = tenants or (_tenant("acme"), _tenant("globex"))
    keys = [*(keys or (_key("1"), _key("2", "globex"))), *(opaque or {}).values()]
    return Snapshot(
        revisions={},
        tenants=_Rows({tenant.name: tenant for tenant in tenants}),
        keys=KeysSnapshot(
            by_id={key.key_id: key for key in keys},
            by_hash={hashlib.sha256(t.encode()).hexdigest(): k for t, k in (opaque or {}).items()},
            signers={KID: ("ES256", OURS.public_key())} if signers is None else signers,
        ),
        routing=RoutingSnapshot(
            aliases={(alias.tenant, alias.name): alias for alias in aliases or (_alias("pro"),)},
            models={},
            max_request_bytes=1_000,
            injected_headers=frozenset(),
        ),
        billing=BillingSnapshot({}),
    )


def _authenticator() -> Authenticator:
    return Authenticator(issuer="gateway", audience="gateway")


def _caller(token: str, world: Snapshot | None = None) -> Caller:
    return _authenticator().authenticate(token, world or _world())


# ---- tokens


def _claims(**changed: Any) -> Claims:
    """What a good token says; a claim that is changed to None is left out."""
    now = int(time.time())
    claims = {
        "iss": "gateway",
        "aud": "gateway",
        "tenant_id": "acme",
        "sub": "",
        "jti": "1",
        "scope": "alias:pro",
        "tier": "",
        "project": "",
        "iat": now,
        "exp": now + 3_600,
        **changed,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(data: object) -> str:
    return _b64(json.dumps(data).encode())


def _token(
    header: Claims | None = None, key: Any = OURS, alg: str = "ES256", **changed: Any
) -> str:
    claims = _claims(**changed)
    return jwt.encode(claims, key, algorithm=alg, headers={"kid": KID, **(header or {})})


def _handmade(header: object, claims: object, sign: Callable[[bytes], bytes]) -> str:
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_b64(sign(signed.encode()))}"


def _es256(signed: bytes) -> bytes:
    return jwt.get_algorithm_by_name("ES256").sign(signed, OURS)


def _hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.new(secret, signed, hashlib.sha256).digest()


def _swap(token: str, part: int, text: str) -> str:
    parts = token.split(".")
    parts[part] = text
    return ".".join(parts)


def _nested(depth: int) -> bytes:
    return b'{"alg":"ES256","kid":"ours","x":' + b"[" * depth + b"]" * depth + b"}"


HEADER = {"alg": "ES256", "typ": "JWT", "kid": KID}
ATTACKER_JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(THEIRS.public_key()))

FORGED: dict[str, Callable[[], str]] = {
    # the algorithm
    "none, no signature": lambda: _handmade({**HEADER, "alg": "none"}, _claims(), lambda _: b""),
    "none, a signature": lambda: _handmade({**HEADER, "alg": "none"}, _claims(), _es256),
    "None": lambda: _handmade({**HEADER, "alg": "None"}, _claims(), lambda _: b""),
    "nOnE": lambda: _handmade({**HEADER, "alg": "nOnE"}, _claims(), lambda _: b""),
    "no algorithm": lambda: _handmade({"kid": KID}, _claims(), _es256),
    "algorithm null": lambda: _handmade({**HEADER, "alg": None}, _claims(), _es256),
    "a list of algorithms": lambda: _handmade({**HEADER, "alg": ["ES256"]}, _claims(), _es256),
    "HS256 by the public key": lambda: _handmade(
        {**HEADER, "alg": "HS256"}, _claims(), _hs256(PUBLIC_PEM)
    ),
    "HS256 by the public key's text": lambda: _handmade(
        {**HEADER, "alg": "HS256"}, _claims(), _hs256(PUBLIC_PEM.strip())
    ),
    "HS256 by the kid": lambda: _handmade(
        {**HEADER, "alg": "HS256"}, _claims(), _hs256(KID.encode())
    ),
    "HS256 by nothing": lambda: _handmade({**HEADER, "alg": "HS256"}, _claims(), _hs256(b"")),
    "RS256": lambda: _token(key=RSA, alg="RS256"),
    "ES384": lambda: _token(key=OURS_384, alg="ES384"),
    "es256": lambda: _handmade({**HEADER, "alg": "es256"}, _claims(), _es256),
    # the key
    "another key pair": lambda: _token(key=THEIRS),
    "an unknown kid": lambda: _token({"kid": "theirs"}),
    "an unknown kid and key": lambda: _token({"kid": "theirs"}, key=THEIRS),
    "no kid": lambda: jwt.encode(_claims(), OURS, algorithm="ES256"),
    "an empty kid": lambda: _token({"kid": ""}),
    "a path for a kid": lambda: _token({"kid": "../../ours"}),
    "a list for a kid": lambda: _handmade({**HEADER, "kid": [KID]}, _claims(), _es256),
    "its own key": lambda: _token({"jwk": ATTACKER_JWK}, key=THEIRS),
    "its own key's address": lambda: _token({"jku": "https://evil.example/jwks"}, key=THEIRS),
    "what must be understood": lambda: _token({"crit": ["exp"], "exp": 0}),
    # the signature
    "a signature of nothing": lambda: _handmade(HEADER, _claims(), lambda _: b""),
    "a signature of zeros": lambda: _handmade(HEADER, _claims(), lambda _: bytes(64)),
    "a signature cut short": lambda: _token()[:-4],
    "a signature made longer": lambda: _token() + "AAAA",
    "a signature of another token": lambda: _swap(
        _token(jti="2"), 2, _token(sub="bob").split(".")[2]
    ),
    "another payload": lambda: _swap(_token(), 1, _part(_claims(scope="alias:*"))),
    "another header": lambda: _swap(_token(), 0, _part({**HEADER, "x": 1})),
    # whom it is from and for
    "another issuer": lambda: _token(iss="https://evil.example"),
    "no issuer": lambda: _token(iss=None),
    "a list of issuers": lambda: _handmade(HEADER, _claims(iss=["gateway"]), _es256),
    "another audience": lambda: _token(aud="other"),
    "other audiences": lambda: _token(aud=["other", "another"]),
    "no audience": lambda: _token(aud=None),
    "an empty audience": lambda: _token(aud=[]),
    # when
    "no expiry": lambda: _token(exp=None),
    "expired": lambda: _token(iat=int(time.time()) - 60, exp=int(time.time()) - 1),
    "expiry in words": lambda: _token(exp="tomorrow"),
    "expiry null": lambda: _handmade(HEADER, {**_claims(), "exp": None}, _es256),
    "expiry a list": lambda: _handmade(HEADER, {**_claims(), "exp": [9e9]}, _es256),
    "expiry never": lambda: _handmade(HEADER, {**_claims(), "exp": float("inf")}, _es256),
    "expiry no number": lambda: _handmade(HEADER, {**_claims(), "exp": float("nan")}, _es256),
    "issued tomorrow": lambda: _token(iat=int(time.time()) + 86_400),
    "not before tomorrow": lambda: _token(nbf=int(time.time()) + 86_400),
    "no issue time": lambda: _token(iat=None),
    # whose
    "no key": lambda: _token(jti=None),
    "an unknown key": lambda: _token(jti="3"),
    "a key by number": lambda: _handmade(HEADER, _claims(jti=1), _es256),
    "a key of another tenant": lambda: _token(jti="2"),
    "another tenant's name": lambda: _token(tenant_id="globex"),
    "an unknown tenant": lambda: _token(tenant_id="initech"),
    "no tenant": lambda: _token(tenant_id=None),
    "no scope": lambda: _token(scope=None),
    "a user by number": lambda: _handmade(HEADER, _claims(sub=7), _es256),
    # the form
    "a header that is no object": lambda: _handmade([HEADER], _claims(), _es256),
    "a payload that is no object": lambda: _handmade(HEADER, [_claims()], _es256),
    "a payload that is no JSON": lambda: _swap(_token(), 1, _b64(b"\xff")),
    "a header that is no JSON": lambda: _swap(_token(), 0, _b64(b"{")),
    "a header that is no base64": lambda: _swap(_token(), 0, "!"),
    "a header nested deeply": lambda: _swap(_token(), 0, _b64(_nested(1_010))),
    "a header nested too deeply": lambda: _swap(_token(), 0, _b64(_nested(2_900))),
    "a fourth part": lambda: _token() + "." + _b64(b"more"),
    "two parts": lambda: _token().rpartition(".")[0],
    "dots": lambda: "..",
    "five parts": lambda: "a.b.c.d.e",
    "blanks inside": lambda: _token().replace(".", ". "),
    "no token at all": lambda: "gwk_of-nobody",
}


def test_a_good_token_names_its_caller() -> None:
    caller = _caller(_token(scope="alias:pro usage:read", sub="ada", project="search", tier="pro"))
    assert caller.tenant.name == "acme"
    assert (caller.key_id, caller.key) == ("1", "frontend")
    assert (caller.user, caller.project, caller.tier) == ("ada", "search", "pro")
    assert caller.scopes == {"alias:pro", "usage:read"}
    assert caller.aliases.keys() == {"pro"}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_or_faulty_token_is_refused(forge: Callable[[], str]) -> None:
    authenticator, world, token = _authenticator(), _world(), forge()
    authenticator.authenticate(_token(), world)  # what is remembered of others helps nobody
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(token, world)


def test_every_refusal_tells_the_caller_the_same() -> None:
    told = set()
    for forge in FORGED.values():
        with pytest.raises(Unauthenticated) as refused:
            _caller(forge())
        told.add((refused.value.message, refused.value.param, refused.value.status))
    assert len(told) == 1


def test_a_token_for_several_audiences_is_for_us_too() -> None:
    assert _caller(_token(aud=["other", "gateway"])).key_id == "1"


@given(st.text(max_size=60) | st.lists(st.text(max_size=20), min_size=3, max_size=3).map(".".join))
def test_any_text_is_refused_and_breaks_nothing(text: str) -> None:
    with pytest.raises(Unauthenticated):
        _caller(text.encode("ascii", "replace").decode())


# ---- time and change


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
def test_a_key_ends_when_it_ends_however_well_it_is_known(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    key = _key("1", ends_at=now + 100)
    token = _token(exp=int(now) + 1_000) if kind == "jwt" else "gwk_one"
    world = _world(keys=[key], opaque={"gwk_one": key})
    authenticator = _authenticator()
    assert authenticator.authenticate(token, world).key_id == "1"
    monkeypatch.setattr(authenticate.time, "time", lambda: now + 99.9)
    assert authenticator.authenticate(token, world).key_id == "1"
    monkeypatch.setattr(authenticate.time, "time", lambda: now + 100)
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(token, world)


def test_a_token_ends_before_its_key_where_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    token, world, authenticator = _token(exp=now + 10), _world(), _authenticator()
    authenticator.authenticate(token, world)
    monkeypatch.setattr(authenticate.time, "time", lambda: now + 10.0)
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(token, world)


@pytest.mark.parametrize(
    "after",
    [
        lambda: _world(keys=[_key("1", ends_at=time.time() - 1)]),
        lambda: _world(keys=[_key("2")]),
        lambda: _world(keys=[_key("1", "globex")]),
        lambda: _world(tenants=[_tenant("globex")]),
        lambda: _world(signers={}),
        lambda: _world(signers={"new": ("ES256", OURS.public_key())}),
    ],
    ids=["revoked", "deleted", "moved", "no tenant", "no signer", "another signer"],
)
def test_a_token_that_was_good_is_refused_as_soon_as_it_is_not(
    after: Callable[[], Snapshot],
) -> None:
    token, authenticator = _token(), _authenticator()
    authenticator.authenticate(token, _world())
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(token, after())


def test_a_change_of_what_a_tenant_may_is_seen_at_once() -> None:
    token, authenticator = _token(scope="alias:*"), _authenticator()
    before = _world(tenants=[_tenant("acme", aliases=["pro"])])
    after = _world(tenants=[_tenant("acme", aliases=[])])
    assert authenticator.authenticate(token, before).aliases.keys() == {"pro"}
    assert authenticator.authenticate(token, after).aliases.keys() == set()
    assert authenticator.authenticate(token, before).aliases.keys() == {"pro"}


def test_a_world_that_is_past_is_forgotten() -> None:
    authenticator, old = _authenticator(), _world()
    tokens = [_token(sub=str(n)) for n in range(3)]
    for token in tokens:
        authenticator.authenticate(token, old)
    watched = weakref.ref(old.tenants)  # type: ignore[type-var]
    del old
    authenticator.authenticate(tokens[0], _world())
    assert watched() is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticate, "REMEMBERED_TOKENS", 10)
    authenticator, world = _authenticator(), _world()
    tokens = [_token(sub=str(n)) for n in range(25)]
    for token in [*tokens, *tokens[:3]]:
        authenticator.authenticate(token, world)
    assert len(authenticator._claims) <= 10
    assert len(authenticator._callers) <= 10
    assert [authenticator.authenticate(token, world).user for token in tokens] == [
        str(n) for n in range(25)
    ]


# ---- opaque keys


def test_an_opaque_key_is_what_its_row_says() -> None:
    key = _key(
        "9", scopes=frozenset({"alias:pro"}), user="ada", project="search", tier="pro", name="cli"
    )
    caller = _caller("gwk_nine", _world(opaque={"gwk_nine": key}))
    assert (caller.key_id, caller.key, caller.user) == ("9", "cli", "ada")
    assert (caller.project, caller.tier) == ("search", "pro")
    assert caller.aliases.keys() == {"pro"}


@pytest.mark.parametrize(
    "guess", ["gwk_Nine", "gwk_nine ", "", hashlib.sha256(b"gwk_nine").hexdigest()]
)
def test_only_the_very_token_opens(guess: str) -> None:
    with pytest.raises(Unauthenticated):
        _caller(guess, _world(opaque={"gwk_nine": _key("9")}))


# ---- what a caller may use

NAMES = ("pro", "fast", "own")
some_names = st.sets(st.sampled_from([*NAMES, "*", "other"]))


@given(
    some_names, st.none() | some_names, some_names, st.sets(st.sampled_from(NAMES)), st.booleans()
)
def test_a_caller_may_use_what_token_policy_and_tenant_allow(
    scopes: set[str], policy: set[str] | None, tenant: set[str], own: set[str], opaque: bool
) -> None:
    policies = {} if policy is None else {"frontend": PolicySnapshot("", frozenset(policy))}
    granted = frozenset(f"alias:{name}" for name in scopes)
    world = _world(
        tenants=[_tenant("acme", aliases=tenant, policies=policies), _tenant("globex")],
        opaque={"gwk_nine": _key("9", scopes=granted)},
        aliases=[
            *(_alias(name) for name in NAMES),
            *(_alias(name, "acme") for name in own),
            *(_alias(name, "globex") for name in (*NAMES, "theirs")),
        ],
    )
    token = "gwk_nine" if opaque else _token(jti="9", scope=" ".join(sorted(granted)))
    aliases = _caller(token, world).aliases
    expected = {
        name: "acme" if name in own else ""
        for name in NAMES
        if scopes & {name, "*"}
        and (policy is None or policy & {name, "*"})
        and (name in own or tenant & {name, "*"})
    }
    assert {name: alias.tenant for name, alias in aliases.items()} == expected


@pytest.mark.parametrize(
    "scope",
    ["", "pro", "alias:", "alias", "ALIAS:pro", "alias:PRO", "xalias:pro", "alias:pr", "usage:*"],
)
def test_only_a_scope_that_names_the_alias_grants_it(scope: str) -> None:
    assert _caller(_token(scope=scope)).aliases == {}


def test_a_policy_binds_the_keys_of_its_name_and_of_its_tenant_alone() -> None:
    nothing = PolicySnapshot("search", frozenset())
    world = _world(
        tenants=[
            _tenant("acme", policies={"backend": nothing}),
            _tenant("globex", policies={"frontend": nothing}),
        ],
        keys=[_key("1"), _key("2", name="backend"), _key("3", "globex")],
    )
    assert _caller(_token(jti="1"), world).aliases.keys() == {"pro"}
    assert _caller(_token(jti="2"), world).aliases.keys() == set()
    assert _caller(_token(jti="3", tenant_id="globex"), world).aliases.keys() == set()


@pytest.mark.parametrize(("said", "project"), [("", "search"), ("own", "own")])
def test_a_policys_project_is_that_of_keys_that_say_none(said: str, project: str) -> None:
    policies = {"frontend": PolicySnapshot("search", frozenset({"*"}))}
    world = _world(tenants=[_tenant("acme", policies=policies)])
    assert _caller(_token(project=said), world).project == project


@pytest.mark.parametrize(("said", "tier"), [("", "free"), ("pro", "pro")])
def test_a_tenants_tier_is_that_of_keys_that_say_none(said: str, tier: str) -> None:
    assert _caller(_token(tier=said)).tier == tier


def test_what_a_caller_may_cannot_be_changed() -> None:
    caller = _caller(_token())
    with pytest.raises(TypeError):
        caller.aliases["new"] = _alias("new")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        caller.key_id = "2"  # type: ignore[misc]


# ---- reading the credential


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer token")],
        [(b"authorization", b"bearer  token ")],
        [(b"x-api-key", b"token")],
        [(b"x-gateway-key", b"token")],
        [(b"x-goog-api-key", b" token")],
        [(b"authorization", b"Bearer token"), (b"x-api-key", b"token")],
        [(b"x-api-key", b"token"), (b"x-api-key", b"token")],
        [(b"x-api-key", b"token"), (b"x-goog-api-key", b"")],
        [(b"authorization", b"Basic dG9rZW46"), (b"x-api-key", b"token")],
        [(b"cookie", b"other"), (b"x-goog-api-key", b"token"), (b"x-other", b"more")],
    ],
)
def test_a_credential_is_read_from_any_of_its_headers(headers: list[tuple[bytes, bytes]]) -> None:
    assert read_token(headers) == "token"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"cookie", b"token")],
        [(b"proxy-authorization", b"Bearer token")],
        [(b"authorization", b"Basic dG9rZW46")],
        [(b"authorization", b"token")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"a"), (b"x-api-key", b"b")],
        [(b"authorization", b"Bearer a"), (b"x-api-key", b"b")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"authorization", b"Basic a"), (b"x-goog-api-key", b"")],
        [(b"x-api-key", b"t\xf6ken")],
        [(b"x-api-key", b"x" * (LONGEST_TOKEN + 1))],
    ],
)
def test_no_credential_or_two_that_disagree_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        read_token(headers)
