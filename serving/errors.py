"""The serving package's error."""

from feature_repo.errors import StoryshelfError


class ServingError(StoryshelfError):
    """The service or a campaign can't do what was asked; the message names the thing and the cure."""
