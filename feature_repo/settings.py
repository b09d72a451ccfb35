"""Settings that every part of the platform shares, read from STORYSHELF_* environment variables."""

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_repo.errors import FeatureRepoError


class Settings(BaseSettings):
    """Where a shop's state lives and which shop is meant. Each package's own settings class extends this one."""

    model_config = SettingsConfigDict(env_prefix="STORYSHELF_", frozen=True, extra="ignore")

    home: Path = Field(Path(".storyshelf"), description="Folder that holds one home per shop.")
    shop: str = Field("", description="Shop to work on; empty means the shop trained last.")
    online_store: str = Field(
        "",
        description="Redis server of the online store, e.g. redis://localhost:6379/0; empty means a SQLite file in the home. Then `make features`.",
    )
    key: str = Field("", description="Pseudonymisation key as 64 hex digits; empty means the key file in the shop's home.")

    @classmethod
    def read(cls) -> Self:
        """The settings as the environment has them.

        Raises:
            FeatureRepoError: a variable holds what can't be its value. The message names it and doesn't quote it: it may be a secret.
        """
        try:
            return cls()
        except ValidationError as error:
            raise FeatureRepoError(" ".join(cls._cure(str(each["loc"][0]), each["msg"]) for each in error.errors())) from None

    @classmethod
    def _cure(cls, name: str, problem: str) -> str:
        field = cls.model_fields[name]
        cure = f"It is: {field.description} Correct it, or unset it for the default, {field.default!s}."
        return f"STORYSHELF_{name.upper()} can't be used ({problem}). {cure}"
