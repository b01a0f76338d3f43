"""What Django serves: everything that is not the data plane."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from billing.admin_adjust import adjust_budget
from billing.admin_state import limits_and_budgets

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
    path("admin/", admin.site.urls),
]
