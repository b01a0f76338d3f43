"""What can be well or ill: models, providers, credentials and their accounts; and which of them an
error says something about."""

from collections.abc import Mapping

from routing.snapshots import CredentialSnapshot, ModelSnapshot, ProviderSnapshot

Subject = tuple[str, ...]
"""`("model", tenant, name)`, `("provider", tenant, name)`, `("credential", tenant, provider, name)`
or `("account", tenant, provider, account)`; the tenant is empty for the gateway's. Also
`("list", tenant, name)`, a provider's list of models: when it was asked for, and nothing else."""

BREAKS: Mapping[str, str] = {
    "connection": "provider",
    "timeout": "model",
    "server_error": "model",
    "overloaded": "model",
    "rate_limit": "account",
    "auth": "credential",
}
"""What an error kind is a failure of. The other kinds are no failure of anything here; least of all
`slow`, because how slow is too slow is for each alias to say."""


def name_of(subject: Subject) -> str:
    """Its name among workers. Only the last part may have a `/` in it."""
    return "/".join(subject)


def named(name: str) -> Subject:
    """The reverse."""
    return tuple(name.split("/", 3 if name.startswith(("credential/", "account/")) else 2))


def of_model(model: ModelSnapshot) -> Subject:
    return ("model", model.tenant, model.name)


def of_provider(provider: ProviderSnapshot) -> Subject:
    return ("provider", provider.tenant, provider.name)


def of_list(provider: ProviderSnapshot) -> Subject:
    return ("list", provider.tenant, provider.name)


def of_credential(provider: ProviderSnapshot, credential: CredentialSnapshot | None) -> Subject:
    return ("credential", provider.tenant, provider.name, credential.name if credential else "")


def of_account(provider: ProviderSnapshot, credential: CredentialSnapshot | None) -> Subject:
    """Credentials of one account share its limits; one without an account has its own."""
    if credential is None or not credential.account:
        return of_credential(provider, credential)
    return ("account", provider.tenant, provider.name, credential.account)


def subject_of(kind: str, model: ModelSnapshot, credential: CredentialSnapshot | None) -> Subject:
    """What an error kind of BREAKS is a failure of, in a call of this target."""
    match BREAKS[kind]:
        case "provider":
            return of_provider(model.provider)
        case "credential":
            return of_credential(model.provider, credential)
        case "account":
            return of_account(model.provider, credential)
    return of_model(model)


def subjects_of(model: ModelSnapshot, credential: CredentialSnapshot | None) -> set[Subject]:
    """All that a call of this target depends on."""
    provider = model.provider
    return {
        of_model(model),
        of_provider(provider),
        of_credential(provider, credential),
        of_account(provider, credential),
    }
