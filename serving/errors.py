"""The serving package's error."""

from collections.abc import Sequence
from typing import Any

from feature_repo.errors import StoryshelfError


class ServingError(StoryshelfError):
    """The service or a campaign can't do what was asked; the message names the thing and the cure."""


class ApiError(ServingError):
    """An answer other than the one asked for. `code` stays the same when words change; docs/api.md lists them."""

    def __init__(self, status: int, code: str, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, list(details)
