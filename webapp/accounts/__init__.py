"""Users, teams, memberships, API keys and the audit log."""
