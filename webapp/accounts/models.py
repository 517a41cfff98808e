"""Who may do what."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from webapp.foundation.encrypted import EncryptedField

SLUG = RegexValidator(
    r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
    "Use lower-case letters, digits and dashes; begin and end with a letter or digit.",
)


class PersonQuerySet(models.QuerySet["User"]):
    def people(self) -> "PersonQuerySet":
        """Without the accounts behind service keys."""
        return self.filter(is_service=False)

    def for_list(self) -> "PersonQuerySet":
        # Imported late: it wants this model first.
        from allauth.mfa.models import Authenticator

        has_one = Exists(Authenticator.objects.filter(user=OuterRef("pk")))
        found = self.people().prefetch_related("memberships__team").order_by("username")
        return found.annotate(has_second_factor=has_one)


class PersonManager(UserManager["User"].from_queryset(PersonQuerySet)):  # type: ignore[misc]
    """Django's manager of users with our questions."""

    use_in_migrations = False


class User(AbstractUser):
    """A person who signs in, or (`is_service`) the account behind a team's service key, which never does."""

    # The password was made up by Modelyard and printed on a console.
    has_printed_password = models.BooleanField(default=False)
    is_service = models.BooleanField(default=False)
    # Counted up to end every session of this person.
    session_epoch = models.PositiveIntegerField(default=0)

    search_columns: ClassVar[tuple[str, ...]] = ("username", "email", "first_name", "last_name")
    objects: ClassVar[Any] = PersonManager()

    def set_password(self, raw_password: str | None) -> None:
        """Whoever sets a password has chosen it; what makes one up says so afterwards."""
        super().set_password(raw_password)
        self.has_printed_password = False

    def get_session_auth_hash(self) -> str:
        """Sessions hold this value and end when it changes: with the password, or with the epoch."""
        of_password: str = super().get_session_auth_hash()
        if not self.session_epoch:
            return of_password
        return salted_hmac(f"session-epoch-{self.session_epoch}", of_password, algorithm="sha256").hexdigest()

    def __str__(self) -> str:
        return self.username


class TeamQuerySet(models.QuerySet["Team"]):
    def visible_to(self, user: User) -> "TeamQuerySet":
        return self if user.is_superuser else self.filter(memberships__user=user)

    def governed_by(self, user: User) -> "TeamQuerySet":
        """Teams whose members, keys and audit log this person looks after."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user=user, memberships__role=Role.ADMIN)

    def for_list(self) -> "TeamQuerySet":
        people = Q(memberships__user__is_service=False)
        return self.annotate(member_count=models.Count("memberships", filter=people, distinct=True)).order_by("name")


class Team(models.Model):
    """The owner of deployments and keys. No team sees another team's things."""

    name = models.CharField(max_length=80, unique=True)
    slug = models.SlugField(max_length=40, unique=True)
    members = models.ManyToManyField(User, through="Membership", related_name="teams")
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = ("name", "slug")
    objects: ClassVar[models.Manager["Team"]] = TeamQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class MembershipQuerySet(models.QuerySet["Membership"]):
    def people(self) -> "MembershipQuerySet":
        return self.filter(user__is_service=False)

    def for_list(self) -> "MembershipQuerySet":
        return self.people().select_related("user", "team").order_by("user__username")


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.OPERATOR)
    # Given and taken away by the rules of single sign-on, not by hand.
    is_by_rule = models.BooleanField(default=False)
    joined_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[models.Manager["Membership"]] = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "team"],
                name="membership_once",
                violation_error_message="This person is in the team already.",
            )
        ]


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> "ApiKeyQuerySet":
        """Keys that are accepted right now: not revoked, not expired, their owner active and still in the team."""
        in_team = Membership.objects.filter(user=OuterRef("user_id"), team=OuterRef("team_id"))
        return self.filter(Q(user__is_superuser=True) | Exists(in_team), revoked_at=None, user__is_active=True).filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        )

    def visible_to(self, user: User) -> "ApiKeyQuerySet":
        """One's own."""
        return self.filter(user=user)

    def governed_by(self, user: User) -> "ApiKeyQuerySet":
        """Keys of the teams that this person administers, service keys included."""
        return self.filter(team__in=Team.objects.governed_by(user))

    def revocable_by(self, user: User) -> "ApiKeyQuerySet":
        return self.filter(Q(user=user) | Q(team__in=Team.objects.governed_by(user)))

    def for_list(self) -> "ApiKeyQuerySet":
        return self.select_related("team", "user").order_by("-created_at", "-id")


class ApiKey(models.Model):
    """A secret that a program sends with its requests. Only its SHA-256 is kept: 256 random bits need no slow hash."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # The key that this one takes the place of.
    rotated_from = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="rotated_to")

    search_columns: ClassVar[tuple[str, ...]] = ("name", "prefix", "team__name")
    objects: ClassVar[models.Manager["ApiKey"]] = ApiKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def is_service(self) -> bool:
        return self.user.is_service

    @property
    def owner(self) -> str:
        """Whose it is, in words."""
        return "the team" if self.user.is_service else self.user.username

    @property
    def state(self) -> str:
        return "revoked" if self.is_revoked else "expired" if self.is_expired else "active"


class LinkKind(models.TextChoices):
    INVITATION = "invitation"
    PASSWORD = "password"  # noqa: S105  a word, not a secret


class OneTimeLinkQuerySet(models.QuerySet["OneTimeLink"]):
    def open(self) -> "OneTimeLinkQuerySet":
        """Links that still lead somewhere, and whose maker might make them today: nobody leaves a back door behind."""
        return self.filter(self._is_backed(), used_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def invitations(self) -> "OneTimeLinkQuerySet":
        return self.filter(kind=LinkKind.INVITATION)

    def for_list(self) -> "OneTimeLinkQuerySet":
        found = self.select_related("team", "created_by", "used_by").order_by("-id")
        return found.annotate(is_backed=self._is_backed())

    @staticmethod
    def _is_backed() -> Exists:
        # By subqueries alone: with a join an update would look at the row through a subquery, and of two people who
        # use one link at the same time PostgreSQL would let both pass.
        governs = Membership.objects.filter(user=OuterRef("pk"), team=OuterRef(OuterRef("team")), role=Role.ADMIN)
        makers = User.objects.filter(Q(is_superuser=True) | Exists(governs), is_active=True)
        return Exists(makers.filter(pk=OuterRef("created_by")))


class OneTimeLink(models.Model):
    """An invitation into a team, or permission to set a new password. The link is shown once; its hash is kept."""

    kind = models.CharField(max_length=10, choices=LinkKind.choices)
    digest = models.CharField(max_length=64, unique=True)
    team = models.ForeignKey(Team, null=True, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=10, choices=Role.choices, blank=True)
    # Whose password may be set.
    person = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    note = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    used_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["OneTimeLink"]] = OneTimeLinkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind=LinkKind.INVITATION, team__isnull=False, person=None)
                | Q(kind=LinkKind.PASSWORD, team=None, person__isnull=False),
                name="link_is_for_a_team_or_a_person",
            )
        ]

    @property
    def state(self) -> str:
        if self.used_at:
            return "used"
        if self.revoked_at:
            return "revoked"
        if self.expires_at <= timezone.now():
            return "expired"
        # Known where `for_list` asked.
        return "pending" if getattr(self, "is_backed", True) else "void"


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    """Reads and appends only. The database refuses changes too (migration 0002)."""

    def visible_to(self, user: User) -> "AuditQuerySet":
        """All of it for an administrator; for others what happened in teams they administer."""
        return self if user.is_superuser else self.filter(team__in=Team.objects.governed_by(user))

    def update(self, **columns: Any) -> int:
        raise TypeError("the audit log is not changed")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("the audit log is not changed: `manage.py trim_audit` removes what is old")

    def for_list(self) -> "AuditQuerySet":
        return self.order_by("-id")


class AuditEntry(models.Model):
    """One row per change that a person or program asked for. Written once, never changed.

    `user` and `team` are numbers without a foreign key in the database: the rows must outlive what they speak of, and
    setting a column to nothing would be a change. The names stand beside them.
    """

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    user = models.ForeignKey(User, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    username = models.CharField(max_length=150)
    team = models.ForeignKey(Team, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    team_name = models.CharField(max_length=80, blank=True)
    verb = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    detail = models.JSONField(default=dict)
    # From the request; empty for what Modelyard did by itself.
    key_prefix = models.CharField(max_length=16, blank=True)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=80, blank=True)

    search_columns: ClassVar[tuple[str, ...]] = ("username", "verb", "subject", "team_name", "address", "key_prefix")
    objects: ClassVar[models.Manager["AuditEntry"]] = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError("the audit log is not changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("the audit log is not changed: `manage.py trim_audit` removes what is old")


class AuditRetention(models.Model):
    """Exists only inside the transaction of `trim_audit`: the trigger lets go of rows older than `before`."""

    before = models.DateTimeField()


class SignInSettings(models.Model):
    """How people sign in: one row, changed by an administrator."""

    only = models.BooleanField(default=True, unique=True)
    is_second_factor_required = models.BooleanField(default=False)
    is_sso_on = models.BooleanField(default=False)
    sso_name = models.CharField(max_length=60, blank=True)
    issuer = models.URLField(max_length=300, blank=True)
    client_id = models.CharField(max_length=200, blank=True)
    client_secret = models.TextField(blank=True)
    # Lower-case domains; empty allows every verified address.
    email_domains = models.JSONField(default=list)
    # The ID token's claim that holds the address, and whether one counts that the provider says nothing about.
    email_claim = models.CharField(max_length=60, default="email")
    trusts_addresses = models.BooleanField(default=False)
    makes_people = models.BooleanField(default=False)
    group_claim = models.CharField(max_length=60, default="groups")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(only=True), name="sign_in_settings_one_row")]


CLIENT_SECRET = EncryptedField(SignInSettings, "client_secret", lambda _only: "sign-in:client-secret")


class SignInRule(models.Model):
    """Whoever has `group` in the group claim is in `team` with `role`."""

    group = models.CharField(max_length=200)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=Role.choices)

    class Meta:
        ordering = ["group", "team_id"]
        constraints = [models.UniqueConstraint(fields=["group", "team"], name="sign_in_rule_once_per_group_and_team")]
