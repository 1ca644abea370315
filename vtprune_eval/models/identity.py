"""What made the results: the loaded model, as ``environment.json`` and summaries hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class ModelIdentity(TypedDict, total=False):
    """A loaded model.

    Attributes:
        model: short name.
        hub_id: repository on the hub; null where it has none.
        revision: commit of the hub that the weights are of; null for local folders.
        weights: trained, random or scripted.
        dtype: floating type of the weights.
        attention: attention backend of the decoder.
        device: where the weights lie.
        trained: false for random weights, which have costs and no accuracy.
        note: what a reader must know, one sentence; empty where there is nothing.
        foreign: true where a local folder is not the model under whose name it was given.
        architecture: class of the network.
        fingerprint: hash of the weights, or random:SEED.
        engine: name and version of an engine of others.
    """

    model: str
    hub_id: str | None
    revision: str | None
    weights: str
    dtype: str
    attention: str
    device: str
    trained: bool
    note: str
    foreign: bool
    architecture: str
    fingerprint: str
    engine: str


# How the note of a foreign folder began before identities had a key for it.
FOREIGN = "WARNING: the folder holds no"


def is_foreign(identity: Mapping[str, Any]) -> bool:
    """True where a local folder is not the model whose name it has: its numbers are never ranked as that model's.

    Args:
        identity: a :class:`ModelIdentity`, or what the file of a run holds of one.
    """
    return bool(identity.get("foreign", str(identity.get("note") or "").startswith(FOREIGN)))
