"""What the packed store raises."""


class PackedError(Exception):
    """Something can't be stored or read; the message names it and says what to do."""
