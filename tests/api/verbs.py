"""What people can change, once: on which page, and by which operation of the API (which is a command, too).

A row is (verb, page, operation). A page is the name of an address that takes a form; an operation is an operationId,
with the fields of its body that are this verb where it has several (`hosts_update: is_drained`).
"""

VERBS: tuple[tuple[str, str, str], ...] = (
    # models and their files
    ("import a file of this machine", "catalog:import", "imports_create"),
    ("fetch from an address", "catalog:address", "downloads_create"),
    ("fetch from a hub", "catalog:get", "downloads_create"),
    ("bring a copy to a host", "catalog:fetch", "artifacts_copies_create"),
    ("delete a copy", "catalog:delete_copy", "artifacts_copies_delete"),
    ("delete an artifact", "catalog:delete", "artifacts_delete"),
    ("add a hub", "catalog:new_hub", "hubs_create"),
    ("change a hub", "catalog:hub", "hubs_update: name endpoint token allows_private is_enabled teams"),
    ("delete a hub", "catalog:delete_hub", "hubs_delete"),
    ("approve a repository", "catalog:approve", "hubs_approvals"),
    ("allow an image", "catalog:images", "images_create"),
    ("take an image off the list", "catalog:forbid_image", "images_delete"),
    ("grant an artifact", "catalog:owner", "artifacts_grants_create"),
    ("take back a grant of an artifact", "catalog:owner", "artifacts_grants_delete"),
    ("share an artifact with everybody", "catalog:owner", "artifacts_share"),
    ("share an artifact no longer", "catalog:owner", "artifacts_unshare"),
    ("move an artifact to another team", "catalog:owner", "artifacts_move"),
    ("grant a dataset", "quantisation:text_owner", "datasets_grants_create"),
    ("take back a grant of a dataset", "quantisation:text_owner", "datasets_grants_delete"),
    ("share a dataset with everybody", "quantisation:text_owner", "datasets_share"),
    ("share a dataset no longer", "quantisation:text_owner", "datasets_unshare"),
    ("move a dataset to another team", "quantisation:text_owner", "datasets_move"),
    ("grant golden prompts", "quantisation:prompts_owner", "golden_prompts_grants_create"),
    ("take back a grant of golden prompts", "quantisation:prompts_owner", "golden_prompts_grants_delete"),
    ("share golden prompts with everybody", "quantisation:prompts_owner", "golden_prompts_share"),
    ("share golden prompts no longer", "quantisation:prompts_owner", "golden_prompts_unshare"),
    ("move golden prompts to another team", "quantisation:prompts_owner", "golden_prompts_move"),
    # deployments
    ("deploy", "deployments:new", "deployments_create"),
    ("edit a deployment", "deployments:edit", "deployments_update: *"),
    ("start", "deployments:start", "deployments_start"),
    ("stop", "deployments:stop", "deployments_stop"),
    ("scale", "deployments:scale", "deployments_scale"),
    ("restart", "deployments:restart", "deployments_restart"),
    ("roll back", "deployments:roll_back", "deployments_rollback"),
    ("delete a deployment", "deployments:delete", "deployments_delete"),
    ("share a deployment", "deployments:share", "deployments_grants_create"),
    ("take a share back", "deployments:withdraw", "deployments_grants_delete"),
    ("keep options as a preset", "deployments:keep_preset", "presets_create"),
    ("forget a preset", "deployments:forget_preset", "presets_delete"),
    # hosts
    ("drain a host", "inventory:drain", "hosts_update: is_drained"),
    ("edit a host", "inventory:edit", "hosts_update: labels price_per_hour system_reserved_bytes is_shared teams"),
    ("accept another Docker engine", "inventory:accept", "hosts_accept_engine"),
    ("end the hold after a restore", "inventory:release_hold", "hold_delete"),
    # jobs
    ("cancel a job", "jobs:cancel", "jobs_cancel"),
    ("try a job again", "jobs:retry", "jobs_retry"),
    ("give up a job whose host does not answer", "jobs:give_up", "jobs_give_up"),
    ("delete a job's record", "jobs:delete", "jobs_delete"),
    ("delete the records of ended jobs", "jobs:delete_ended", "jobs_delete_ended"),
    # quantisation
    ("quantise", "quantisation:new", "quantisations_create"),
    ("make an artifact again", "quantisation:rebuild", "artifacts_rebuild"),
    ("keep golden prompts", "quantisation:prompts", "golden_prompts_create"),
    ("delete golden prompts", "quantisation:delete_prompts", "golden_prompts_delete"),
    ("keep a dataset", "quantisation:texts", "datasets_create"),
    ("delete a dataset", "quantisation:delete_text", "datasets_delete"),
    # schedules
    ("make a schedule", "schedules:new", "schedules_create"),
    ("edit a schedule", "schedules:edit", "schedules_update: *"),
    ("pause a schedule", "schedules:pause", "schedules_pause"),
    ("let a schedule go on", "schedules:resume", "schedules_resume"),
    ("run a schedule now", "schedules:run", "schedules_runs_create"),
    ("delete a schedule", "schedules:delete", "schedules_delete"),
    ("cancel a run", "schedules:cancel", "schedule_runs_cancel"),
    ("add a target", "schedules:targets", "notification_targets_create"),
    ("change what a target is told", "schedules:edit_target", "notification_targets_update: events"),
    ("test a target", "schedules:test_target", "notification_targets_test"),
    ("delete a target", "schedules:delete_target", "notification_targets_delete"),
    # keys
    ("make a key", "accounts:new", "keys_create"),
    ("rotate a key", "accounts:rotate", "keys_rotate"),
    ("rename a key", "accounts:edit", "keys_update: name"),
    ("move the end of a key", "accounts:edit", "keys_update: expires_at"),
    ("revoke a key", "accounts:revoke", "keys_delete"),
    # teams
    ("make a team", "teams:new", "teams_create"),
    ("rename a team", "teams:rename", "teams_update: name slug"),
    ("delete a team", "teams:delete", "teams_delete"),
    ("invite", "teams:invite", "teams_invitations_create"),
    ("revoke an invitation", "teams:revoke_invitation", "teams_invitations_delete"),
    ("make a service key", "teams:new_key", "teams_keys_create"),
    ("add a member", "teams:add_member", "teams_members_create"),
    ("change a role", "teams:role", "teams_members_update: role"),
    ("remove a member", "teams:remove", "teams_members_delete"),
    # people
    ("shut somebody out", "people:deactivate", "people_update: is_active"),
    ("let somebody in again", "people:reactivate", "people_update: is_active"),
    ("make somebody an admin", "people:make_admin", "people_update: is_admin"),
    ("take that back", "people:take_admin", "people_update: is_admin"),
    ("sign somebody out everywhere", "people:end_sessions", "people_end_sessions"),
    ("remove a second factor", "people:remove_second_factor", "people_remove_second_factor"),
    ("give a link for a new password", "people:password_link", "people_password_link"),
    ("rotate the master key", "dashboard:settings_master_key", "master_key_rotate"),
    ("change how people sign in", "settings:sign_in", "settings_sign_in_replace"),
)

# Pages that take a form and are no verb of the API, each with its reason.
PAGES_ALONE: dict[str, str] = {
    "dashboard:playground_token": "a token for the browser that is signed in; programs have keys",
    "deployments:bulk": "start, stop and delete for several at once; programs call each",
    "deployments:change": "shows what an edit would change; the API has dry_run for that",
    "deployments:fit": "shows whether a form would fit; the API has POST /estimates",
    "quantisation:preview": "shows what quantising would take; POST /quantisations/preview is the same question",
    "end_my_sessions": "ends the browser sessions of who sits there; an admin has people_end_sessions",
    "sso_disconnect": "of one's own account, with the browser's session as the proof",
    "one_time_link": "the link is the credential, and the answer a browser's session",
    "sso_login": "begins to sign a browser in",
}
# Whole parts that belong to signing a browser in: allauth's own pages.
SIGNING_IN = ("account_", "mfa_", "sso_callback")
# Addresses without a name, for machines: they only answer.
MACHINES = ("healthz", "readyz", "metrics")
# Operations that change nothing, or are questions with a body.
QUESTIONS: dict[str, str] = {
    "estimates_create": "would it fit: the form of a new deployment asks the same",
    "quantisations_preview": "what would it take: the form of quantising asks the same",
    "schedules_check": "would it be taken: the form answers beside its fields",
}
# Commands that are no operation, each with its reason.
COMMANDS_ALONE: dict[str, str] = {
    "login": "keeps a key on this machine",
    "logout": "forgets it",
    "profiles": "lists what is kept on this machine",
    "status": "several lists in one",
    "wait": "asks again and again",
    "chat": "asks a model at /v1, as any client does",
    "apply": "many operations out of a file",
    "export": "many answers as a file",
    "deployments logs": "deployments replicas-log, followed",
}
