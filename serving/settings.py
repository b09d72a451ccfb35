"""Settings of the service and of campaigns."""

from typing import Literal

from pydantic import Field, SecretStr

from feature_repo.settings import Settings


class ServingSettings(Settings):
    """Where the service listens and how campaigns are delivered."""

    # Campaigns and channels
    public_url: str = Field("http://127.0.0.1:3000", description="Address of the service as shoppers reach it: base of links and unsubscribe links in mail.")
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
