"""The admin's page that adjusts a budget."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from billing.adjusting import adjust, read_adjustment
from billing.admin_state import anchor, asked_by, line, may_adjust
from billing.models import BudgetAdjustment
from billing.standing import Standing
from billing.wording import amount_in_words


class AdjustmentForm(forms.Form):
    amount = forms.CharField(max_length=40, widget=forms.TextInput({"autocomplete": "off"}))
    reason = forms.CharField(max_length=500, widget=forms.Textarea({"rows": 3}))

    def __init__(self, standing: Standing, unit: str, data: Any) -> None:
        super().__init__(data)
        self.standing = standing
        self.fields["amount"].label = f"Amount in {unit}"
        self.fields["amount"].help_text = "Added to what is used; below 0 it gives room for more."
        self.fields["reason"].help_text = "Stays with the adjustment, which is never edited."

    def clean_amount(self) -> int:
        try:
            return read_adjustment(self.standing, self.cleaned_data["amount"])
        except ValueError as error:
            raise forms.ValidationError(f"The amount is refused: {error}.") from error

    def save(self, by: Any) -> bool:
        """Whether it was done; what is wrong stands in the form."""
        amount, reason = self.cleaned_data["amount"], self.cleaned_data["reason"]
        try:
            adjust(self.standing, amount, reason, by)
        except ValidationError as error:
            self.add_error(None, error)
            return False
        return True


def adjust_budget(request: HttpRequest) -> HttpResponse:
    """Asks for an amount and a reason, and adjusts the purse that the query names. A budget in it
    is shown, and adjusted, with the others."""
    asked = asked_by(request)
    if not may_adjust(request):
        raise PermissionDenied
    counter = request.GET.get("counter", "")
    found = [one for one in asked.standings() if one.row.budget and one.row.ask.key == counter]
    if not found:
        messages.error(request, "This budget's period is over, or it is no more. Look again.")
        return HttpResponseRedirect(asked.url)
    standing = found[0]
    unit = "tokens" if standing.row.rule.unit == "tokens" else asked.currency
    form = AdjustmentForm(standing, unit, request.POST if request.method == "POST" else None)
    if form.is_valid() and form.save(request.user):
        messages.success(request, "The budget is adjusted, in every worker within a second.")
        return HttpResponseRedirect(f"{asked.url}#{anchor(standing.row)}")
    context = {
        **admin.site.each_context(request),
        "title": "Adjust a budget",
        "form": form,
        "lines": [line(one, asked) for one in found],
        "back": asked.url,
        "earlier": _earlier(standing),
    }
    return TemplateResponse(request, "admin/adjust_budget.html", context)


def _earlier(standing: Standing) -> list[dict[str, Any]]:
    """The adjustments of this purse, newest first."""
    row = standing.row
    return [
        {
            "amount": amount_in_words(row, adjustment.amount),
            "reason": adjustment.reason,
            "by": adjustment.by,
            "created_at": adjustment.created_at,
        }
        for adjustment in BudgetAdjustment.objects.filter(counter=row.ask.key)
    ]
