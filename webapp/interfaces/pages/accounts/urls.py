"""Addresses of keys, teams, people, the audit log, and everything about signing in."""

from allauth.account import views as allauth
from django.urls import include, path

from webapp.interfaces.pages.accounts import audit, keys, links, people, sign_in, teams

app_name = "accounts"
urlpatterns = [
    path("", keys.keys, name="keys"),
    path("new/", keys.new_key, name="new"),
    path("<int:pk>/rotate/", keys.rotate_key, name="rotate"),
    path("<int:pk>/edit/", keys.edit_key, name="edit"),
    path("<int:pk>/revoke/", keys.revoke_key, name="revoke"),
]

team_patterns = [
    path("", teams.index, name="index"),
    path("new/", teams.new, name="new"),
    path("<slug:slug>/", teams.detail, name="detail"),
    path("<slug:slug>/rename/", teams.rename, name="rename"),
    path("<slug:slug>/delete/", teams.delete, name="delete"),
    path("<slug:slug>/invite/", teams.invite, name="invite"),
    path("<slug:slug>/invitations/<int:pk>/revoke/", teams.revoke_invitation, name="revoke_invitation"),
    path("<slug:slug>/keys/new/", teams.new_service_key, name="new_key"),
    path("<slug:slug>/members/add/", teams.add_member, name="add_member"),
    path("<slug:slug>/members/<int:person_id>/role/", teams.change_role, name="role"),
    path("<slug:slug>/members/<int:person_id>/remove/", teams.remove, name="remove"),
]

people_patterns = [
    path("", people.index, name="index"),
    path("<int:pk>/deactivate/", people.deactivate, name="deactivate"),
    path("<int:pk>/reactivate/", people.reactivate, name="reactivate"),
    path("<int:pk>/end-sessions/", people.end_sessions, name="end_sessions"),
    path("<int:pk>/remove-second-factor/", people.remove_second_factor, name="remove_second_factor"),
    path("<int:pk>/make-admin/", people.make_admin, name="make_admin"),
    path("<int:pk>/take-admin/", people.take_admin, name="take_admin"),
    path("<int:pk>/password-link/", people.password_link, name="password_link"),
]

audit_patterns = [path("", audit.index, name="index")]

settings_patterns = [path("sign-in/", sign_in.configure, name="sign_in")]

# Named one by one instead of including allauth's own list: half of that would make accounts or send mail, and every
# page that opens without signing in is one more to defend.
sign_in_patterns = [
    path("login/", allauth.login, name="account_login"),
    path("logout/", allauth.logout, name="account_logout"),
    path("reauthenticate/", allauth.reauthenticate, name="account_reauthenticate"),
    path("password/change/", allauth.password_change, name="account_change_password"),
    path("password/set/", allauth.password_set, name="account_set_password"),
    path("sessions/end/", people.end_my_sessions, name="end_my_sessions"),
    path("2fa/", include("allauth.mfa.urls")),
    path("link/", links.one_time_link, name="one_time_link"),
    path("sso/login/", sign_in.sso_start, name="sso_login"),
    path("sso/callback/", sign_in.sso_callback, name="sso_callback"),
    path("sso/<int:pk>/disconnect/", sign_in.sso_disconnect, name="sso_disconnect"),
    path("signup/", links.elsewhere, name="account_signup"),
    path("inactive/", links.elsewhere, name="account_inactive"),
    path("email/", links.elsewhere, name="account_email"),
    path("confirm-email/", links.elsewhere, name="account_email_verification_sent"),
    path("password/reset/", links.elsewhere, name="account_reset_password"),
]
