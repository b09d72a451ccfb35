"""Settings of the service and of campaigns."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from feature_repo.journal import JournalLimits
from feature_repo.settings import Settings
from training.ranker.policy import Diversity, ShelfPolicy


class ServingSettings(Settings):
    """Where the service listens and how campaigns are delivered."""

    # The service
    host: str = Field("127.0.0.1", description="Address that the service listens on; anything but loopback opens it to others.")
    port: int = Field(3000, ge=1, le=65535, description="Port of the service.")
    api_key: SecretStr = Field(
        SecretStr(""), description="Key that profile, content, feed and events ask for (X-API-Key), and personal reasons; empty means none."
    )
    bundle: Path = Field(Path(), description="Folder of the models to serve; `make serve` sets it inside a bento.")
    candidates: int = Field(200, ge=10, le=2000, description="Products that the retrievers hand to the ranker for one request.")
    retrieved: int = Field(
        0,
        ge=0,
        le=5000,
        description="Products that each retriever proposes; of all of them the ranker sees STORYSHELF_CANDIDATES. 0: as many as these.",
    )
    hide_sold_out: bool = Field(ShelfPolicy.hide_sold_out, description="Leave out what is sold out; an unknown stock counts as in stock.")
    hide_bought: bool = Field(
        ShelfPolicy.hide_bought, description="Leave out what the shopper bought before; a shop without repeat buying always does."
    )
    hide_disliked: bool = Field(ShelfPolicy.hide_disliked, description="Leave out products, brands and categories under a stated dislike.")
    min_price: float = Field(
        ShelfPolicy.min_price, ge=0, description="Lowest price on a shelf; 0 is no bound. With one, a product without a price is out."
    )
    max_price: float = Field(ShelfPolicy.max_price, ge=0, description="Highest price on a shelf; 0 is no bound.")
    diversity: Diversity = Field(
        ShelfPolicy.diversity,
        description="How a shelf is spread: not at all, by category_share, by likeness (MMR), or as the shopper's interests are (calibrated).",
    )
    diversity_strength: float = Field(
        ShelfPolicy.strength, ge=0, le=1, description="What the spread counts beside the score under mmr and calibrated; 0 is the score alone."
    )
    category_share: float = Field(
        ShelfPolicy.category_share, gt=0, le=1, description="Under cap: largest share of a shelf for one category, while others have candidates."
    )
    brand_share: float = Field(
        ShelfPolicy.brand_share, gt=0, le=1, description="Largest share of a shelf for one brand, while others have candidates; 1 is no limit."
    )
    exploration_slots: int = Field(
        ShelfPolicy.exploration_slots,
        ge=0,
        le=10,
        description="Last places of a shelf that are drawn at random, at most a third of it; each costs clicks.",
    )
    exploration_pool: int = Field(
        ShelfPolicy.exploration_pool, ge=10, le=2000, description="Next best candidates that such a place is drawn from, each as likely as any other."
    )
    max_body_bytes: int = Field(1_000_000, ge=1000, description="Largest request body; more is answered with 413.")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer; each holds the models and the products, and uses one core.")
    max_in_flight: int = Field(
        32, ge=1, description="Requests that one worker has begun and not answered; more are turned down with 503 and Retry-After."
    )
    user_timeout_s: float = Field(0.25, gt=0, description="Seconds to wait for a shopper's features; without them the popular shelf is shown.")
    retrieve_timeout_s: float = Field(
        0.25, gt=0, description="Seconds after which no further retriever is asked; the shelf is made of what was proposed until then."
    )
    write_timeout_s: float = Field(20.0, gt=0, description="Seconds to wait for the writer; then templates take its place.")
    event_future_s: float = Field(60.0, ge=0, description="How far an event's time may lie ahead of the shop's clock.")
    reload_s: float = Field(1.0, gt=0, description="Seconds between looks at the shop's home for new features and a moved clock.")

    # The journal
    journal_flush_s: float = Field(0.2, gt=0, le=60, description="Seconds between writes of the journal: what a killed process may lose.")
    journal_segment_mb: int = Field(64, ge=1, description="Size at which a journal segment is closed and the next begun.")
    journal_segment_age_s: float = Field(3600.0, gt=0, description="Age at which a journal segment is closed and the next begun.")
    journal_retention_days: float = Field(90.0, gt=0, description="Days that a journal segment is kept after its last line.")
    journal_sample_share: float = Field(0.02, ge=0, le=1, description="Share of the candidates not shown whose full values are kept.")

    # Campaigns and channels
    public_url: str = Field("http://127.0.0.1:3000", description="Address of the service as shoppers reach it: base of the links in mail.")
    mail_from: str = Field("Storyshelf <shelf@shop.example>", description="Sender of campaign mail.")
    smtp_host: str = Field("127.0.0.1", description="SMTP server that campaigns deliver to; the default is the local sink.")
    smtp_port: int = Field(3025, ge=1, le=65535, description="Port of the SMTP server.")
    smtp_tls: Literal["none", "starttls", "tls"] = Field("none", description="Encryption of the SMTP connection.")
    smtp_user: str = Field("", description="User name for the SMTP server; empty means no login.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Password for the SMTP server.")
    smtp_timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for one answer of the SMTP server.")
    allow_remote_smtp: bool = Field(False, description="Campaigns may deliver to an SMTP server that is not on this machine.")
    sink_port: int = Field(3025, ge=1, le=65535, description="Port of the local mail sink (python -m serving.channels.sink).")
    mail_attempts: int = Field(5, ge=1, le=20, description="How often one message is tried when the mail server answers with a temporary failure.")
    mail_backoff_s: float = Field(60.0, ge=0, description="Seconds before a message is tried again; doubled with every attempt.")

    @field_validator("max_price")
    @classmethod
    def _a_price_between(cls, highest: float, others: ValidationInfo) -> float:
        if 0 < highest < others.data.get("min_price", 0.0):
            raise ValueError("it is below STORYSHELF_MIN_PRICE")
        return highest

    def shelf_policy(self) -> ShelfPolicy:
        return ShelfPolicy(
            hide_sold_out=self.hide_sold_out, hide_bought=self.hide_bought, hide_disliked=self.hide_disliked, min_price=self.min_price,
            max_price=self.max_price, diversity=self.diversity, strength=self.diversity_strength, category_share=self.category_share,
            brand_share=self.brand_share, exploration_slots=self.exploration_slots, exploration_pool=self.exploration_pool,
        )  # fmt: skip

    def journal_limits(self) -> JournalLimits:
        return JournalLimits(
            flush_s=self.journal_flush_s,
            segment_bytes=self.journal_segment_mb * 2**20,
            segment_age_s=self.journal_segment_age_s,
            retention=timedelta(days=self.journal_retention_days),
        )
