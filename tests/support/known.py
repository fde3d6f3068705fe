"""What a store under observation has said, and what may therefore be found in it."""


class Known:
    """What was tried and what was acknowledged, by key: the number of the last change."""

    def __init__(self):
        self.tried, self.acked, self.deleted = {}, {}, {}

    def note(self, kind, number, *words):
        """``try NUMBER KEY ...``, or ``ack``; a key may have its own number, a deletion has a ``-``."""
        for word in words:
            own, _, key = word.rpartition(":")
            name = key.removeprefix("-")
            known = self.tried if kind == "try" else self.acked
            known[name] = max(known.get(name, 0), int(own or number))
            if name != key:
                self.deleted[name] = int(number)

    def compare(self, found):
        """What is wrong: every key has its last acknowledged state or a later one tried."""
        acked, tried = self.acked, self.tried
        for key in {*acked, *tried, *found}:
            least, there = acked.get(key, 0), found.get(key)
            if there is None and least and self.deleted.get(key, 0) < least:
                return f"{key}: {least} was acknowledged, nothing is there"
            if there is not None and there < least:
                return f"{key}: {least} was acknowledged, {there} is there"
            if there is not None and there > tried.get(key, 0):
                return f"{key}: {there} is there and was never saved"
            if key.endswith("/left") and there != found.get(key.removesuffix("left") + "right"):
                return f"{key}: half of a commit is there"
        return None
