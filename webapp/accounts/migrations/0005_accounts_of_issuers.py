"""Accounts of single sign-on were kept by their subject alone; another provider may give the same one to somebody else."""

from django.db import migrations

from webapp.accounts.sign_on import account_key


def key_by_issuer(apps, schema_editor):
    """The issuer is in the claims that were kept at the last sign-in, else it is the one that is configured."""
    settings = apps.get_model("accounts", "SignInSettings").objects.first()
    configured = settings.issuer if settings else ""
    accounts = apps.get_model("socialaccount", "SocialAccount").objects.filter(provider="sso")
    changed = list(accounts)
    for account in changed:
        claims = account.extra_data if isinstance(account.extra_data, dict) else {}
        account.uid = account_key(claims.get("iss") or configured, account.uid)
    accounts.model.objects.bulk_update(changed, ["uid"], batch_size=500)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_sign_in_addresses"),
        ("socialaccount", "0006_alter_socialaccount_extra_data"),
    ]

    operations = [migrations.RunPython(key_by_issuer, migrations.RunPython.noop)]
