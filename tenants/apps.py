from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        from tenants import models, revisions

        revisions.watch(
            revisions.CONFIGURATION,
            models.Tier,
            models.Tenant,
            models.Project,
            models.KeyPolicy,
            models.Issuer,
            models.HmacSigner,
            models.Webhook,
        )
        revisions.watch(revisions.KEYS, models.Key, models.SigningKey)
