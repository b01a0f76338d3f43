from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from billing import models
        from tenants import revisions

        revisions.watch(
            revisions.CONFIGURATION, models.PriceBook, models.PriceVersion, models.Price
        )
        revisions.watch(revisions.ADJUSTMENTS, models.BudgetAdjustment)
