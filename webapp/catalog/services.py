"""Every change of the catalogue."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from webapp import paths
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog import gguf
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.errors import Conflict, Invalid
from webapp.events import services as events
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
