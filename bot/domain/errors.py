"""Every exception that may cross a layer, named by what to do next."""


class BotError(Exception):
    """A failure with a sentence for the person who can act on it."""


class TryLater(BotError):
    """The outside is down or asks us to wait; nothing was lost and the call may be repeated."""

    def __init__(self, message: str, after_s: float = 30.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class NeedsPerson(BotError):
    """A permission, a token or a setting is missing: only a person can mend it."""


class Gone(BotError):
    """What was asked for does not exist (any more): a closed repository, a deleted branch."""


class Broken(BotError):
    """Our own state or a reply makes no sense; going on would make it worse."""


class ConfigError(BotError):
    """A setting is wrong; the message names file, line and key."""
