"""What is particular to one shop: how its tables are called and written. Read from an optional `shop.toml` beside the tables.

docs/data.md holds an example that runs.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from feature_repo.errors import FeatureRepoError
from feature_repo.events import LANGUAGES, TABLES, EventType

IGNORE = "ignore"
"""In `event_types`: the shop's events of this type are set aside on purpose."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class ShopConfig(BaseModel):
    """How to read one shop. Every field has a default, so a folder without `shop.toml` works if it uses our names.

    `columns`: table -> our column -> the shop's column. `constants`: table -> our column -> value for every row, for what the shop does not
    write because it is always the same. `event_types`: the shop's word -> ours, or "ignore". `files`: table -> file name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", description="The shop's name as shoppers know it.")
    currency: Currency | None = Field(None, description="ISO 4217 code of every price; without it, the one most products carry.")
    time_zone: str = Field("UTC", description="Zone of times that are written without an offset.")
    languages: tuple[str, ...] = Field(LANGUAGES, description="Languages that copy is written in.")
    repeat_buying: bool = Field(True, description="Whether people buy the same product again, so that bought products may be recommended.")
    columns: Mapping[str, Mapping[str, str]] = Field(default_factory=dict, description="Our column -> the shop's, per table.")
    constants: Mapping[str, Mapping[str, str | int | float | bool]] = Field(default_factory=dict, description="Our column -> value of every row.")
    event_types: Mapping[str, str] = Field(default_factory=dict, description='The shop\'s event type -> ours, or "ignore".')
    files: Mapping[str, str] = Field(default_factory=dict, description="Table -> file in the folder, where the name differs.")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"'{zone}' is no IANA time zone (such as Europe/Berlin)")
        return zone

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if not languages or set(languages) - set(LANGUAGES):
            raise ValueError(f"languages must be some of {', '.join(LANGUAGES)}")
        return languages

    @field_validator("event_types")
    @classmethod
    def _known_types(cls, types: Mapping[str, str]) -> Mapping[str, str]:
        known = {*EventType, IGNORE}
        if wrong := sorted(set(types.values()) - known):
            raise ValueError(f"{', '.join(wrong)} is none of {', '.join(sorted(known))}")
        return types

    @model_validator(mode="after")
    def _known_tables(self) -> "ShopConfig":
        for field in ("columns", "constants", "files"):
            for table, entry in getattr(self, field).items():
                if table not in TABLES:
                    raise ValueError(f"{field}.{table}: the tables are {', '.join(TABLES)}")
                unknown = [] if field == "files" else sorted(set(entry) - set(TABLES[table].names))
                if unknown:
                    raise ValueError(f"{field}.{table}: no column {', '.join(unknown)}; there are {', '.join(TABLES[table].names)}")
        return self

    @model_validator(mode="after")
    def _known_words(self) -> "ShopConfig":
        """A constant that no row may hold would set every row of its table aside."""
        for table, entry in self.constants.items():
            for name, value in entry.items():
                words = TABLES[table][name].values
                own = set(self.event_types) if (table, name) == ("events", "event_type") else set()
                if words and str(value).strip().lower() not in words and value not in own:
                    raise ValueError(f"constants.{table}.{name}: '{value}' is none of {', '.join([*words, *sorted(own)])}")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @classmethod
    def read(cls, folder: Path) -> "ShopConfig":
        """The folder's `shop.toml`, or the defaults where there is none.

        Raises:
            FeatureRepoError: the file is no TOML, or a field is unknown or wrong.
        """
        file = folder / "shop.toml"
        if not file.exists():
            return cls()
        try:
            return cls.model_validate(tomllib.loads(file.read_text(encoding="utf-8-sig")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FeatureRepoError(f"{file} can't be read: {error}. It must be TOML in UTF-8.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "file"
            raise FeatureRepoError(f"{file}, {where}: {first['msg'].removeprefix('Value error, ')}. docs/data.md explains every field.") from error
