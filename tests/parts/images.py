"""Images of tests, as an installation admin allows them."""

from webapp.catalog.image_names import parse_image


def allow(*images: str) -> None:
    """Let the repositories of these images run."""
    from webapp.catalog.models import AllowedImage

    for image in images:
        AllowedImage.objects.get_or_create(repository=parse_image(image).repository, digest="")
