"""Models that many tests share: nothing about one may be changed, or what a test finds depends on who ran before it."""

from __future__ import annotations

LENT: list[tuple[object, dict[str, object]]] = []


def state_of(adapter) -> dict[str, object]:
    """What a test could leave behind in a model."""
    modules = list(adapter.model.modules())
    return {
        "attention": adapter.attention,
        "training": sum(m.training for m in modules),
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules),
        "gradients": sum(p.grad is not None for p in adapter.model.parameters()),
        "trained": sum(p.requires_grad for p in adapter.model.parameters()),
        "written": sum(float(t.detach().double().abs().sum()) for t in adapter.model.parameters()),
    }


def shared(adapter):
    """The adapter, watched from here on."""
    LENT.append((adapter, state_of(adapter)))
    return adapter


def changed() -> list[str]:
    """Every lent model that is no longer as it was lent, with what differs; each is named once."""
    found = []
    for number, (adapter, before) in enumerate(LENT):
        now = state_of(adapter)
        found += [f"{adapter.name}: {key} was {before[key]}, is {now[key]}" for key in now if now[key] != before[key]]
        LENT[number] = (adapter, now)
    return found
