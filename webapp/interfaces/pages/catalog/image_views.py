"""The page of the images that may run besides the engines' own."""

from collections import defaultdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.catalog import images
from webapp.catalog.models import AllowedImage
from webapp.deployments.models import Deployment
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.views import carry_out, person, view
from webapp.interfaces.pages.catalog.forms import ImageForm


@view("GET", "POST")
def index(request: HttpRequest) -> HttpResponse:
    """Everybody sees which images may run; administrators add to them."""
    user = person(request)
    form = ImageForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            row = images.allow(user, form.cleaned_data["image"])
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, f"{row} may run.")
            return redirect("catalog:images")
    context = {
        "form": form, "rows": AllowedImage.objects.select_related("added_by"), "own": images.own(),
        "may_change": user.is_superuser, "barred": _barred() if user.is_superuser else [],
    }  # fmt: skip
    return render(request, "models/images.html", context, status=422 if form.errors else 200)


@view("POST")
def forbid(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    row = get_object_or_404(AllowedImage, pk=pk)
    carry_out(request, lambda: images.forbid(user, row), f"{row} is off the list.")
    return redirect("catalog:images")


def _barred() -> list[dict[str, Any]]:
    """Images of deployments that may not start again, with who uses them and what would let them."""
    allowed = images.AllowList.now()
    users: defaultdict[str, list[str]] = defaultdict(list)
    using = Deployment.objects.exclude(image="").order_by("image", "name").values_list("image", "team__name", "name")
    for image, team, name in using:
        users[image].append(f"{team}/{name}")
    return [
        {"image": image, "offer": images.offer(image), "users": names}
        for image, names in users.items()
        if allowed.refusal(image)
    ]
