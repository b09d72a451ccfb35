"""The errors of training and of loading models."""

from feature_repo.errors import StoryshelfError


class TrainingError(StoryshelfError):
    """Too little to learn from, a model folder that was changed, or a registry without the model that was asked for."""
