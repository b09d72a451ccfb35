"""What a campaign says: the service's own core, in this process. Shelf, reasons and checked copy come from the packed models (`Answers`)."""

import logging
from collections.abc import Sequence

from feature_repo.events import Event, EventType
from feature_repo.home import ShopHome
from feature_repo.journal import Decision, Reason
from serving.answers import Answers, contents, copy_degraded
from serving.errors import ServingError
from serving.letters import Copy, LetterItem
from serving.recommend import Wish
from serving.settings import ServingSettings

log = logging.getLogger(__name__)

CHANNEL = "email"


class LetterSource:
    """Composes letters with `products` products each; a `Source` of campaigns. Products, prices and stock are those of the moment of the call.

    Raises:
        StoryshelfError: no bundle, no features, models that don't fit, or a lost key (see `Answers.open`).
    """

    def __init__(self, home: ShopHome, settings: ServingSettings, products: int) -> None:
        self._answers = Answers.open(home, settings)
        self._products = products

    def __call__(self, user_id: str, language: str, request_id: str) -> Copy | None:
        """A letter to a pseudonym; about the first product of their shelf that something can be said about. None if nothing can."""
        answers = self._answers
        shop = answers.keeper.current
        shelf = answers.shelf(user_id, Wish(self._products, decision=request_id), shop)
        spoken = answers.language(language if language in answers.shop_config.languages else None, shelf.profile)
        for item in shelf.items:
            written = answers.write(shop, shelf.user, shelf.profile, [item.product_id], CHANNEL, spoken)
            if written and written[0].subject and written[0].body:
                break
        else:
            return None
        items = tuple(
            LetterItem(
                each.product_id,
                answers.title(shop, each.product_id, spoken),
                answers.price_text(shop, each.product_id, spoken),
                _sentence(each.reasons, spoken),
            )
            for each in shelf.items
        )
        decision = answers.decision(request_id, "email", CHANNEL, self._products, shop, shelf, contents(written), copy_degraded(written, 1))
        return Copy(spoken, written[0].subject, written[0].body, items, decision)

    def check_language(self, language: str) -> None:
        """Raises:
        ServingError: the shop doesn't write the language.
        """
        known = self._answers.shop_config.languages
        if language and language not in known:
            raise ServingError(
                f"Shop '{self._answers.home.shop}' has no texts in '{language}': --language takes {', '.join(known)} (shop.toml: languages)."
            )

    def record(self, decision: Decision) -> None:
        """Put a delivered letter's decision into the journal, and what it showed into the event log; on disk on return."""
        answers = self._answers
        answers.journal.record(decision)
        if not answers.journal.flush():
            log.warning("The journal is slow: decision %s was not on disk after 10 seconds.", decision.request_id)
        answers.event_log.append(impressions(decision, answers.home))

    def close(self) -> None:
        self._answers.close()


def impressions(decision: Decision, home: ShopHome) -> list[Event]:
    """One impression per product of a letter; sending them again does no harm, the ids stay the same."""
    now = home.clock().now()
    tones = {content.product_id: {"tone": content.tone, "aspect": next(iter(content.aspects), None)} for content in decision.contents}
    return [
        Event(
            event_id=f"{decision.request_id}-{item.rank}", event_type=EventType.IMPRESSION, user_id=decision.user_id, product_id=item.product_id,
            event_time=now, arrived_at=now, sequence=item.rank, request_id=decision.request_id, position=item.rank, channel=CHANNEL,
            context=tones.get(item.product_id),
        )
        for item in decision.items
        if item.returned
    ]  # fmt: skip


def _sentence(reasons: Sequence[Reason], language: str) -> str:
    if not reasons:
        return ""
    return (reasons[0].text_zh or reasons[0].text) if language == "zh" else reasons[0].text
