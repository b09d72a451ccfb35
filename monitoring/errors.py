"""The monitoring package's error."""

from feature_repo.errors import StoryshelfError


class MonitoringError(StoryshelfError):
    """Nothing to monitor yet, a workspace that cannot be read, or a port that is taken."""
