"""People, teams, keys and hosts; what is told of them."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import django

django.setup()


from webapp.accounts import keys, links, services, sign_in, teams  # noqa: E402
from webapp.accounts.models import Role, Team, User  # noqa: E402
from webapp.inventory import managing  # noqa: E402
from webapp.inventory import services as inventory  # noqa: E402
from webapp.inventory.models import Host  # noqa: E402

GIB = 1024**3
MODELS = Path("/srv/models")
PASSWORD = "a stored password, told to nobody"
HUB_TOKEN, ADDRESS = "hf_a_stored_token", "/plain/signed.gguf?signature=a-stored-signature"
CLIENT_SECRET = "a stored client secret"
told: dict[str, Any] = {"password": PASSWORD, "keys": {}, "secrets": {}, "owners": {}, "teams": {}}


def people() -> None:
    ada, research = services.create_first_admin("ada", PASSWORD, "Research")
    makers = teams.create_team(ada, "Makers")
    teams.create_team(ada, "Nobody yet")
    for name, team, role in (
        ("bob", research, Role.OPERATOR), ("vic", research, Role.VIEWER),
        ("eve", makers, Role.ADMIN), ("max", makers, Role.OPERATOR),
    ):  # fmt: skip
        person = User.objects.create_user(name, f"{name}@example.org", PASSWORD)
        teams.add_member(ada, team, person, role)
        told["teams"][name] = team.slug
    links.invite(ada, research, Role.VIEWER, "for the guest")
    links.revoke_invitation(ada, links.invite(ada, makers, Role.ADMIN)[0])
    links.password_link(ada, who("vic"))
    for name, scopes in (("bob", keys.SCOPES), ("eve", keys.SCOPES), ("max", ("inference",))):
        told["keys"][name] = keys.create_key(who(name), of(name), f"{name}'s laptop", scopes)[1]
    told["keys"]["service"] = keys.create_service_key(who("eve"), makers, "nightly", ("inference", "manage"))[1]
    old = keys.create_key(who("bob"), research, "rotated")[0]
    told["keys"]["rotated"] = keys.rotate_key(who("bob"), old, 168)[1]
    revoked, told["revoked"] = keys.create_key(who("eve"), makers, "lost")
    keys.revoke_key(who("eve"), revoked)
    sign_in.configure(ada, sign_in.Wish(
        is_sso_on=True, sso_name="Our sign-in", issuer="https://id.example.org", client_id="modelyard",
        client_secret=CLIENT_SECRET, email_domains=("example.org",), rules=(("ml", makers, Role.OPERATOR),),
    ))  # fmt: skip
    told["secrets"]["client"] = CLIENT_SECRET
    allauth()


def allauth() -> None:
    """Rows of the library that people sign in with."""
    from allauth.account.models import EmailAddress
    from allauth.mfa.models import Authenticator
    from allauth.socialaccount.models import SocialAccount

    EmailAddress.objects.create(user=who("eve"), email="eve@example.org", verified=True, primary=True)
    SocialAccount.objects.create(user=who("eve"), provider="sso", uid="eve-at-the-provider")
    Authenticator.objects.create(user=who("max"), type="recovery_codes", data={"migrated_codes": ["00000000"]})


def who(name: str) -> User:
    return User.objects.get(username=name)


def of(name: str) -> Team:
    return Team.objects.get(slug=told["teams"][name])


def hosts() -> None:
    inventory.adopt_installation(None, hold=False)
    for name, gpus in (("local", 2), ("lent", 0), ("away", 0)):
        host = inventory.register_host(who("ada"), name, f"unix:///run/{name}.sock")
        cards = tuple(
            inventory.AcceleratorFacts(
                index=index, uuid=f"GPU-{name}-{index}", vendor="nvidia", name="NVIDIA L4", memory_bytes=24 * GIB
            )
            for index in range(gpus)
        )
        inventory.record_facts(host.pk, inventory.HostFacts(
            daemon_id=f"engine-of-{name}", cpu_count=16, memory_bytes=64 * GIB, disk_total_bytes=500 * GIB,
            disk_free_bytes=200 * GIB, facts={"docker": "27.1"}, accelerators=cards,
        ))  # fmt: skip
        inventory.record_engine_network(host.pk, "modelyard-engines", f"172.31.{host.pk}.0/24")
    change = managing.HostChange(labels=["gpu"], price_per_hour=Decimal(2), is_shared=False, teams=[of("eve")])
    managing.change_host(who("ada"), Host.objects.get(name="lent"), change)
    inventory.record_lost(Host.objects.get(name="away").pk, "connection refused")


def here() -> Host:
    return Host.objects.get(name="local")
