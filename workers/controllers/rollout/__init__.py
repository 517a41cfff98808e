"""Rollouts: which replicas a deployment has next. People's verbs go on with them too, all of it stands beside those."""

from webapp.deployments import rolling

CONTROLLER = rolling.CONTROLLER
