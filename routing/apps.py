from django.apps import AppConfig


class RoutingConfig(AppConfig):
    name = "routing"

    def ready(self) -> None:
        from routing import models
        from tenants import revisions

        revisions.watch(
            revisions.CONFIGURATION,
            models.GatewaySettings,
            models.Provider,
            models.Credential,
            models.Model,
            models.Guard,
            models.Alias,
            models.AliasGuard,
            models.Route,
            models.RouteTarget,
            models.Fallback,
        )
