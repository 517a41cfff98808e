"""REST endpoints of notification targets."""

from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.fields import RowId
from webapp.interfaces.api.pagination import Pages
from webapp.interfaces.api.schedules.schemas import NotificationOut, TargetEdit, TargetIn, TargetMade, TargetOut
from webapp.schedules import targets
from webapp.schedules.models import Notification, Target

router = Router(tags=["schedules"])


@router.get("/notification-targets", response=list[TargetOut], summary="List notification targets")
@paginate(Pages)
def list_targets(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Target.objects.visible_to(caller(request)).select_related("team").order_by("id")


@router.post(
    "/notification-targets", response={201: TargetMade}, summary="Add a notification target (webhook or email)"
)
def add_target(request: HttpRequest, data: TargetIn) -> Status[Target]:
    user = caller(request)
    target, secret = targets.add(user, team_of(user, data.team), data.kind, data.address, list(data.events))
    target.secret = secret  # type: ignore[attr-defined]
    return Status(201, target)


@router.get("/notification-targets/{target_id}", response=TargetOut, summary="Get a notification target")
def get_target(request: HttpRequest, target_id: RowId) -> Target:
    rows = Target.objects.visible_to(caller(request)).select_related("team")
    return get_object_or_404(rows, pk=target_id)


@router.patch("/notification-targets/{target_id}", response=TargetOut, summary="Update a notification target")
def change_target(request: HttpRequest, target_id: RowId, data: TargetEdit) -> Target:
    targets.change(caller(request), get_target(request, target_id), list(data.events))
    return get_target(request, target_id)


@router.delete("/notification-targets/{target_id}", response={204: None}, summary="Delete a notification target")
def delete_target(request: HttpRequest, target_id: RowId) -> Status[None]:
    targets.delete(caller(request), get_target(request, target_id))
    return Status(204, None)


@router.post(
    "/notification-targets/{target_id}/test", response={202: NotificationOut}, summary="Send a test notification"
)
def test_target(request: HttpRequest, target_id: RowId) -> Status[Notification]:
    return Status(202, targets.test(caller(request), get_target(request, target_id)))


@router.get(
    "/notification-targets/{target_id}/notifications", response=list[NotificationOut], summary="List deliveries"
)
@paginate(Pages)
def list_notifications(request: HttpRequest, target_id: RowId) -> Any:
    return Notification.objects.filter(target=get_target(request, target_id)).order_by("-id")
