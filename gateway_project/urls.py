"""What Django serves: everything that is not the data plane."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from billing.admin_adjust import adjust_budget
from billing.admin_state import limits_and_budgets
from routing.admin_health import ask_again, health

admin.site.site_header = admin.site.site_title = "exact-gateway"
admin.site.index_title = "Administration"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path(
        "admin/limits-and-budgets/",
        admin.site.admin_view(limits_and_budgets),
        name="limits-and-budgets",
    ),
    path(
        "admin/limits-and-budgets/adjust/",
        admin.site.admin_view(adjust_budget),
        name="adjust-budget",
    ),
    path("admin/health/", admin.site.admin_view(health), name="health-of-upstreams"),
    path(
        "admin/health/ask-again/",
        admin.site.admin_view(ask_again),
        name="ask-upstream-again",
    ),
    path("admin/", admin.site.urls),
]
