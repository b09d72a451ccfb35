"""What a channel is: it knows addresses, and it delivers one letter at a time and says what became of it.

Campaigns and the core handle pseudonyms; only a channel turns one into an address, and no address leaves it, not in a receipt, a log or an error.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from serving.errors import ServingError
from serving.letters import Letter

Outcome = Literal["sent", "retry", "refused", "unknown"]
"""sent: accepted. retry: certainly not accepted, may be later. refused: not accepted for good. unknown: it may have been accepted."""


@dataclass(frozen=True)
class Receipt:
    """What became of one letter. `detail` is a code or a few words, never an address or a server's own text (it quotes addresses)."""

    outcome: Outcome
    detail: str = ""


class ChannelError(ServingError):
    """The channel can't deliver anything: wrong settings, login refused, sender refused. The letter at hand was certainly not accepted."""


class ChannelDown(ChannelError):
    """Nobody answers at the other end; it may be there again later. The letter at hand was certainly not accepted."""


class Channel(Protocol):
    """One way to reach shoppers. Make it with `(home, settings)`; use it from one thread."""

    name: str

    def reaches(self, user_id: str) -> bool:
        """Whether there is an address for the user."""
        ...

    def language(self, user_id: str) -> str | None:
        """The language that was noted with the address; None if there is none."""
        ...

    def open(self) -> None:
        """Connect, if not connected. Call it before an intent is committed.

        Raises:
            ChannelError, ChannelDown: see there.
        """
        ...

    def deliver(self, letter: Letter) -> Receipt:
        """Deliver to the letter's user, who is reachable. A lost connection costs at most this one letter's certainty.

        Raises:
            ChannelError, ChannelDown: see there.
        """
        ...

    def close(self) -> None:
        """Let go of the connection; the channel may be opened again."""
        ...
