"""What the demo prints about a finished job."""

import io

from rich.console import Console

from luthier.cli.demo import show
from luthier.local.demo import Demo, Ticket


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


RESULT = Demo(
    job_id="job_1",
    deployment="tickets",
    comparison={
        "exact_match": {
            "base": interval(0.01),
            "tuned": interval(0.71),
            "difference": interval(0.7),
            "p_value": 0.0005,
            "higher_is_better": True,
        }
    },
    confidence_level=0.95,
    num_test_rows=150,
    parity={
        "subject": "triton",
        "greedy_agreement": 0.996,
        "num_identical": 31,
        "max_logit_difference": 0.0021,
        "prompts": [{"rendered_equal": True}] * 32,
    },
    ticket=Ticket(
        text="My [bold]printer[/] is broken\x1b[31m", expected='{"action": "repair"}', answer='{"action": "call"}'
    ),
    artifacts={"evaluate": "/home/evaluate/1-2/output"},
    reports=("/home/evaluate/1-2/output/report.md",),
    stage_seconds={"train": 125.0},
    total_seconds=301.0,
)


def printed() -> str:
    console = Console(file=io.StringIO(), width=160)
    show(console, RESULT)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_figures_come_with_their_intervals() -> None:
    text = printed()
    for part in ("150 held-out tickets", "0.710 [0.700, 0.720]", "0.010 [0.000, 0.020]", "0.0005", "95%"):
        assert part in text


def test_the_parity_proof_is_told_in_words() -> None:
    text = printed()
    for part in ("32 of 32 equal", "31 of 32 identical, 99.6% of the tokens agree", "0.0021"):
        assert part in text


def test_times_places_and_what_to_do_next_are_told() -> None:
    text = printed()
    for part in ("2 m 05 s", "5 m 01 s", "report.md", 'luthier chat tickets "..."', "luthier down"):
        assert part in text


def test_a_ticket_is_shown_as_it_is_and_cannot_steer_the_terminal() -> None:
    text = printed()
    assert "My [bold]printer[/] is broken" in text
    assert "\x1b" not in text
