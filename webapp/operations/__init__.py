"""Running a Modelyard: backups, upgrades, moving to another database, heartbeats, health and metrics."""
