"""Settings that every part of the platform shares, read from STORYSHELF_* environment variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where a shop's state lives and which shop is meant. Each package's own settings class extends this one."""

    model_config = SettingsConfigDict(env_prefix="STORYSHELF_", frozen=True, extra="ignore")

    home: Path = Field(Path(".storyshelf"), description="Folder that holds one home per shop.")
    shop: str = Field("", description="Shop to work on; empty means the shop trained last.")
    key: str = Field("", description="Pseudonymisation key as 64 hex digits; empty means the key file in the shop's home.")
