"""The stages' states as a picture, made from the table that the coordinator runs by."""

from coordinator.lifecycle import TERMINAL, TRANSITIONS, Edge, StageState, words_of


def mermaid() -> str:
    """The table as a Mermaid state diagram; edges that change nothing are left out."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for (state, fact), row in TRANSITIONS.items():
        if isinstance(row, Edge):
            lines += [f"    {state} --> {target}: {words_of(fact)}" for target in row.targets if target is not state]
    lines += [f"    {state} --> [*]" for state in StageState if state in TERMINAL]
    return "\n".join(lines)
