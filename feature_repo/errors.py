"""What every package's errors have in common: a message that names the thing and the cure."""


class StoryshelfError(Exception):
    """An error a person can act on. A command prints it as one line and exits with 2."""


class FeatureRepoError(StoryshelfError):
    """Wrong or missing shop data, home, key or feature definition."""
