from collections.abc import Callable

from feature_repo.home import ShopHome
from serving.channels.contract import Channel
from serving.channels.smtp import SmtpChannel
from serving.settings import ServingSettings

CHANNELS: dict[str, Callable[[ShopHome, ServingSettings], Channel]] = {"email": SmtpChannel}
