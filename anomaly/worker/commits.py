"""What a commit carries beside its offset: a few bytes of metadata that Kafka keeps with it.

``incidents`` is where the incidents partition ended when the first record not covered by the commit was processed:
whatever the replay of these records finds in the topic from there on has been sent already. ``partitions`` is how many
partitions the topic had; with another count every run would have another home. ``clock`` is the partition's clock
before the record at the offset, in milliseconds (`anomaly.monitor.lives`).
"""

from __future__ import annotations

import msgspec


class CommitMetadata(msgspec.Struct, frozen=True):
    """Unknown fields are ignored and missing ones have defaults, so that versions can follow each other."""

    partitions: int | None = None
    incidents: int | None = None
    clock: int = 0

    def encode(self) -> str:
        """JSON."""
        return msgspec.json.encode(self).decode()


def read_metadata(text: str | None) -> CommitMetadata:
    """Metadata as a commit has it; empty where somebody else committed or the broker keeps none (the embedded one)."""
    try:
        return msgspec.json.decode(text or "{}", type=CommitMetadata)
    except msgspec.MsgspecError:
        return CommitMetadata()
