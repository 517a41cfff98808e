"""Teams and who is in them."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.text import slugify

from webapp.accounts import principals
from webapp.accounts.auditing import audit, difference
from webapp.accounts.models import SLUG, ApiKey, Membership, OneTimeLink, Role, SignInRule, Team, User
from webapp.accounts.roles import require, require_installation_admin
from webapp.foundation.errors import Conflict, Invalid
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS, ROUTES

# Words that stand where a team's slug could stand in an address.
RESERVED = frozenset({"new", "audit", "all"})
# What goes with the team and keeps nobody from deleting it; apps above say so of their own tables: `ends_with_team`.
_BELONGINGS = (Membership, ApiKey, OneTimeLink, SignInRule)


def create_team(user: User | None, name: str, slug: str = "", first_admin: User | None = None) -> Team:
    """A new team, by an administrator. Without `slug` one is made of the name."""
    require_installation_admin(user)
    name, slug = _checked(name, slug or slugify(name)[:40].strip("-"))
    with transaction.atomic():
        team = _save(Team(name=name, slug=slug))
        if first_admin is not None:
            Membership.objects.create(user=first_admin, team=team, role=Role.ADMIN)
        detail = {"slug": slug, "first_admin": first_admin.username if first_admin else None}
        audit(user, team, "team.create", name, detail)
        events.publish(PRINCIPALS, ROUTES)
    return team


def rename_team(user: User, team: Team, name: str, slug: str = "") -> Team:
    """Another name for people; another `slug` changes the addresses of the team's deployments too."""
    require_installation_admin(user)
    before = {"name": team.name, "slug": team.slug}
    name, slug = _checked(name, slug or team.slug)
    with transaction.atomic():
        team.name, team.slug = name, slug
        _save(team)
        audit(user, team, "team.rename", before["name"], difference(before, {"name": name, "slug": slug}))
        events.publish(ROUTES)
    return team


def delete_team(user: User, team: Team) -> None:
    """Remove a team that owns nothing any more. Raises Conflict that says what it still owns."""
    require_installation_admin(user)
    with transaction.atomic():
        left = _owned(team)
        if left:
            raise Conflict(
                f"{team.name} still owns {', '.join(left)}.", "Delete these first, or give them to another team."
            )
        audit(user, team, "team.delete", team.name, {"slug": team.slug})
        User.objects.filter(is_service=True, memberships__team=team).delete()
        team.delete()
        events.publish(PRINCIPALS, ROUTES)


def add_member(user: User | None, team: Team, person: User, role: Role) -> Membership:
    """Put somebody into a team without an invitation, by an administrator."""
    require_installation_admin(user)
    return join(user, team, person, role, "member.add")


def add_by_name(user: User | None, team: Team, username: str, role: Role) -> Membership:
    """The same for a user name. Raises Invalid when nobody has it; to others than the admin it is not told."""
    require_installation_admin(user)
    person = User.objects.people().filter(username=username).first()
    if person is None:
        message = f"There is no user called {username!r}."
        raise Invalid(message, "Invite them.", fields={"username": message})
    return add_member(user, team, person, role)


def join(user: User | None, team: Team, person: User, role: Role, verb: str, is_by_rule: bool = False) -> Membership:
    """Write the membership. Raises Conflict when there is one."""
    with transaction.atomic():
        membership, is_new = Membership.objects.get_or_create(
            user=person, team=team, defaults={"role": role, "is_by_rule": is_by_rule}
        )
        if not is_new:
            raise Conflict(f"{person} is in {team.name} already, as {membership.role}.")
        audit(user, team, verb, person.username, {"role": str(role)})
        principals.announce()
    return membership


def change_role(user: User | None, membership: Membership, role: Role) -> None:
    """Give a member another role, by hand. The last admin stays one."""
    team, person = membership.team, membership.user
    require(user, team, Role.ADMIN)
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team.pk)
        before = Membership.objects.get(pk=membership.pk)
        if before.role == role:
            return
        if role != Role.ADMIN:
            _keep_an_admin(before)
        Membership.objects.filter(pk=membership.pk).update(role=role, is_by_rule=False)
        audit(user, team, "member.role", person.username, difference({"role": before.role}, {"role": str(role)}))
        principals.announce()


def remove_member(user: User | None, membership: Membership, verb: str = "member.remove") -> None:
    """End a membership. The person's keys of this team end with it; they stay ended when the person comes back.

    People may leave by themselves. The last admin cannot.
    """
    team, person = membership.team, membership.user
    if user is None or user.pk != person.pk:
        require(user, team, Role.ADMIN)
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team.pk)
        current = Membership.objects.filter(pk=membership.pk).first()
        if current is None:
            return
        if user is not None:
            _keep_an_admin(current)
        keys = ApiKey.objects.filter(user=person, team=team, revoked_at=None)
        ended = list(keys.values_list("prefix", flat=True))
        keys.update(revoked_at=timezone.now())
        current.delete()
        audit(user, team, verb, person.username, {"role": current.role, "ended_keys": ended})
        principals.announce()


def is_last_admin(membership: Membership) -> bool:
    """Whether the team has no other admin who could act. Inside a transaction, which keeps it so until its end."""
    team = Team.objects.select_for_update().get(pk=membership.team_id)
    if not team.memberships.filter(pk=membership.pk, role=Role.ADMIN).exists():
        return False
    others = team.memberships.filter(role=Role.ADMIN, user__is_active=True, user__is_service=False)
    return not others.exclude(pk=membership.pk).exists()


def _keep_an_admin(leaving: Membership) -> None:
    if is_last_admin(leaving):
        raise Conflict(
            f"{leaving.user} is the last admin of {leaving.team.name}.", "Make somebody else an admin first."
        )


def _owned(team: Team) -> list[str]:
    """What would be deleted with the team, whatever app it is in: `3 deployments`, `1 job`. People can delete each."""
    left = []
    for relation in Team._meta.related_objects:
        model, name = relation.related_model, relation.field.name
        if model in _BELONGINGS or getattr(model, "ends_with_team", False):
            continue
        if isinstance(relation, models.ManyToManyRel):
            # Of no team at all means every team's: what is this team's alone must not open to the others.
            alone = model._base_manager.annotate(named=models.Count(name)).filter(named=1)
            number = alone.filter(**{name: team}).count()
        elif relation.on_delete in (models.CASCADE, models.PROTECT, models.RESTRICT):
            number = model._base_manager.filter(**{name: team}).count()
        else:
            continue
        if number:
            meta = model._meta
            left.append(f"{number} {meta.verbose_name if number == 1 else meta.verbose_name_plural}")
    return left


def _checked(name: str, slug: str) -> tuple[str, str]:
    name = name.strip()
    if not name or len(name) > 80:
        message = "A team has a name of at most 80 characters."
        raise Invalid(message, fields={"name": message})
    try:
        SLUG(slug)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), fields={"slug": " ".join(error.messages)}) from error
    if slug in RESERVED:
        message = f"The slug {slug} is reserved."
        raise Invalid(message, fields={"slug": message})
    return name, slug


def _save(team: Team) -> Team:
    try:
        with transaction.atomic():
            team.save()
    except IntegrityError as error:
        message = "Another team has this name or slug."
        raise Conflict(message, "Choose another.", fields={"name": message}) from error
    return team


def teams_of(user: User, role: Role = Role.VIEWER) -> list[Team]:
    """The teams whose things this person sees, or may change with `role`; all of them for an administrator."""
    if user.is_superuser:
        return list(Team.objects.order_by("name"))
    roles = {Role.VIEWER: list(Role), Role.OPERATOR: [Role.OPERATOR, Role.ADMIN], Role.ADMIN: [Role.ADMIN]}[role]
    return list(Team.objects.filter(memberships__user=user, memberships__role__in=roles).order_by("name"))
