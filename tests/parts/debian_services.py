"""PostgreSQL, nginx and Prometheus as one image made of Debian's packages, where no registry has theirs.

    python -m tests.parts.debian_services

makes the tar in the cache and prints its path.
"""

import hashlib
from pathlib import Path

import docker

from webapp.foundation import paths
from workers.launcher import debian_base

IMAGE = "modelyard-test/services:1"
# initdb asks a shell for the server's version; Debian's server without its just-in-time compiler is 100 MB smaller.
PACKAGES = ("postgresql-15", "nginx-light", "libpcre2-8-0", "prometheus", "dash")
# Compilers, interpreters and pictures that none of the three needs to run.
WITHOUT = (
    "libllvm14",
    "libz3-4",
    "perl",
    "perl-modules-5.36",
    "libperl5.36",
    "prometheus-node-exporter",
    "smartmontools",
)
ENVIRONMENT = "ENV PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8"


def tar() -> Path:
    """The image's file system, built once per recipe."""
    key = hashlib.sha256(f"{debian_base.recipe_key()} {PACKAGES} {WITHOUT}".encode()).hexdigest()[:16]
    folder = paths.cache_dir() / f"debian-services-{key}"
    done = folder / "base.tar"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        debian_base.build(folder, print, more=PACKAGES, without=WITHOUT)
    return done


def import_into(client: docker.DockerClient) -> str:
    """The image's name, on that engine afterwards."""
    repository, tag = IMAGE.split(":")
    client.api.import_image(src=str(tar()), repository=repository, tag=tag, changes=[ENVIRONMENT])
    return IMAGE


if __name__ == "__main__":
    print(tar())
