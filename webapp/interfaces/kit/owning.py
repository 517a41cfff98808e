"""The page of whose something is: the same for everything that a team owns."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.accounts import ownership
from webapp.accounts.models import Role, Team
from webapp.foundation.text import clean_text, parse_id
from webapp.interfaces.kit.views import carry_out, may, person


def owner_page(request: HttpRequest, rows: Any, pk: int, crumb: tuple[str, str], use: str) -> HttpResponse:
    """Show who may use the row, and do what a form of this page asks for.

    `crumb`: the page above, as address and title. `use`: what a team that is let in may do with it.
    """
    user = person(request)
    item = get_object_or_404(rows.belonging_to(user).select_related("team"), pk=pk)
    typed, action = clean_text(request.POST.get("team"), 40), request.POST.get("do", "")
    status = 200
    if request.method == "POST":
        if _do(request, item, action, typed):
            # Whoever gave it away may not look at it any more.
            is_mine = rows.belonging_to(user).filter(pk=pk).exists()
            return redirect(request.path if is_mine else crumb[0])
        status = 422
    context = {
        "item": item, "grants": item.grants.select_related("team"), "typed": typed, "action": action, "crumb": crumb,
        "use": use, "may_operate": may(user, item.team, Role.OPERATOR),
    }  # fmt: skip
    return render(request, "owner.html", context, status=status)


def _do(request: HttpRequest, item: Any, action: str, typed: str) -> bool:
    user = person(request)
    if action == "grant":
        return carry_out(request, lambda: ownership.grant(user, item, typed), f"Team {typed} may use it now.")
    if action == "withdraw":
        granted = Team.objects.filter(pk__in=item.grants.values("team"))
        team = get_object_or_404(granted, pk=parse_id(request.POST.get("grant", "")) or 0)
        said = f"Team {team.name} may not begin to use it any more."
        return carry_out(request, lambda: ownership.withdraw(user, item, team), said)
    if action == "share":
        return carry_out(request, lambda: ownership.share(user, item), "Every team may use it now.")
    if action == "unshare":
        said = "It is its team's, and of those that it was granted to."
        return carry_out(request, lambda: ownership.unshare(user, item), said)
    return action == "move" and carry_out(
        request, lambda: ownership.move(user, item, typed), f"It is team {typed}'s now."
    )
