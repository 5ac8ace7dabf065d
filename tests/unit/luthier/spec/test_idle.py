"""What a job file sets and nothing reads is told, field by field; what is read is not."""

import json
from pathlib import Path

import pytest

from luthier.spec import canonical_json, load_job_file, parse_spec
from luthier.spec.idle import IDLE, idle_fields

EXAMPLES = Path(__file__).parents[4] / "examples"
DATA = {"path": "/d.jsonl"}
SOURCES = [{"name": "a", "path": "/a.jsonl"}, {"name": "b", "path": "/b.jsonl"}]
GRPO = {"type": "grpo", "rewards": [{"type": "json_valid"}]}
LOGIT = {"type": "distillation", "teacher": "t"}
SEQUENCE = LOGIT | {"level": "sequence"}
XLORA = {"type": "xlora", "experts": ["/a", "/b"]}
LINEAR = {"type": "linear", "adapters": [{"path": "/a", "weight": 1.0}]}
DARE = LINEAR | {"type": "dare_linear", "density": 0.5}
ZERO = {"type": "zero", "stage": 3, "nvme_path": "/fast"}
AUGMENT = {"min_samples": 9, "methods": ["typos"]}

CASES = [
    ("training.num_train_epochs", {"training": {"num_train_epochs": 2.0}}, {"training": {"max_steps": 9}}),
    ("training.warmup_ratio", {"training": {"warmup_ratio": 0.2}}, {"training": {"warmup_steps": 3}}),
    (
        "data.curriculum",
        {"training": {"order": "easy_first"}, "data": DATA | {"curriculum": {"difficulty_by": "grade"}}},
        {"training": {"order": "short_first"}},
    ),
    ("method.eps", {"method": {"type": "oft", "coft": True, "eps": 0.1}}, {"method": {"coft": False}}),
    (
        "method.num_cayley_neumann_terms",
        {"method": {"type": "oft", "num_cayley_neumann_terms": 9}},
        {"method": {"use_cayley_neumann": False}},
    ),
    ("method.xlora_size", {"method": XLORA | {"xlora_depth": 2, "xlora_size": 9}}, {"method": {"xlora_depth": 1}}),
    (
        "method.xlora_dropout_p",
        {"method": XLORA | {"xlora_depth": 2, "xlora_dropout_p": 0.0}},
        {"method": {"xlora_depth": 1}},
    ),
    ("objective.teacher", {"objective": LOGIT}, {"objective": {"alpha": 0.0}}),
    ("objective.seed", {"objective": SEQUENCE | {"seed": 3, "temperature": 0.5}}, {"objective": {"temperature": 0.0}}),
    (
        "objective.top_k",
        {"objective": SEQUENCE | {"top_k": 3, "temperature": 0.5}},
        {"objective": {"temperature": 0.0}},
    ),
    (
        "objective.epsilon",
        {"objective": GRPO | {"epsilon": 0.1, "num_iterations": 2}},
        {"objective": {"num_iterations": 1}},
    ),
    (
        "objective.epsilon_high",
        {"objective": GRPO | {"epsilon_high": 0.3, "num_iterations": 2}},
        {"objective": {"num_iterations": 1}},
    ),
    ("training.pack_length", {"training": {"pack_length": 4096, "packing": False}}, {"objective": GRPO}),
    ("data.validation_path", {"data": DATA | {"validation_path": "/v"}}, {"objective": GRPO}),
    ("data.overlong", {"data": DATA | {"overlong": "truncate"}}, {"objective": GRPO}),
    (
        "resources.distributed.nvme_path",
        {"resources": {"distributed": ZERO | {"offload_optimizer": "nvme"}}},
        {"resources": {"distributed": {"offload_optimizer": "cpu"}}},
    ),
    ("resources.distributed", {"resources": {"distributed": {"type": "fsdp"}}}, {"merge": LINEAR}),
    ("objective", {"objective": {"type": "dpo", "beta": 0.5}}, {"merge": LINEAR}),
    ("data.select", {"data": DATA | {"select": {"fraction": 0.5}}}, {"merge": LINEAR}),
    ("data.balance", {"data": DATA | {"balance": {"method": "oversample"}}}, {"merge": LINEAR}),
    ("data.augment", {"data": DATA | {"augment": AUGMENT}}, {"merge": LINEAR}),
    (
        "merge.majority_sign",
        {"merge": DARE | {"type": "dare_ties", "majority_sign": "frequency"}},
        {"merge": {"type": "dare_linear"}},
    ),
    ("merge.seed", {"merge": DARE | {"seed": 3}}, {"merge": {"type": "ties"}}),
    ("data.validation_fraction", {"data": DATA | {"validation_fraction": 0.2}}, {"data": {"validation_path": "/v"}}),
    ("data.test_fraction", {"data": DATA | {"test_fraction": 0.2}}, {"data": {"test_path": "/t"}}),
    (
        "data.split",
        {"data": DATA | {"split": {"group_by": "user"}, "validation_path": "/v"}},
        {"data": {"test_path": "/t"}},
    ),
    (
        "data.mixing.stopping_strategy",
        {"data": {"sources": SOURCES, "mixing": {"stopping_strategy": "all_exhausted", "strategy": "proportional"}}},
        {"data": {"mixing": {"strategy": "auto"}}},
    ),
    (
        "data.pii.regions",
        {"data": DATA | {"pii": {"action": "redact", "regions": ["DE"]}}},
        {"data": {"pii": {"kinds": ["email"]}}},
    ),
    ("evaluation.max_new_tokens", {"evaluation": {"max_new_tokens": 9}}, {"evaluation": {"metrics": ["perplexity"]}}),
    ("evaluation.num_examples", {"evaluation": {"num_examples": 9}}, {"evaluation": {"metrics": ["perplexity"]}}),
    (
        "evaluation.gate",
        {"evaluation": {"gate": {"token_f1": {"min": 0.5}}}},
        {"evaluation": {"gate": {"exact_match": {}}}},
    ),
    ("export.dtype", {"export": {"dtype": "float32"}}, {"export": {"formats": ["peft"]}}),
    ("export.parity.max_new_tokens", {"export": {"parity": {"max_new_tokens": 9}}}, {"objective": {"type": "reward"}}),
]
"""Field; a job in which it is set and counts; what makes it do nothing."""


def told(job):
    return [line.partition(" does nothing here: ")[0] for line in idle_fields(job)]


def merged(one, other):
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return one | {name: merged(one.get(name, value), value) for name, value in other.items()}


def spec(*changes):
    document = {"name": "t", "base_model": "tiny", "data": DATA}
    for change in changes:
        if "sources" in change.get("data", {}):
            document["data"] = {}
        document = merged(document, change)
    return parse_spec(json.dumps(document))


@pytest.mark.parametrize(("field", "used", "change"), CASES, ids=[case[0] for case in CASES])
def test_a_field_that_nothing_reads_is_told(field, used, change):
    assert told(spec(used)) == []
    idle = spec(used, change)
    assert field in told(idle)
    assert told(parse_spec(canonical_json(idle))) == told(idle), "the coordinator sees every field filled in"


def test_every_row_of_the_table_has_a_case():
    assert [case[0] for case in CASES] == [row.field for row in IDLE]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"objective": GRPO},
        {"objective": {"type": "dpo"}, "training": {"packing": False}},
        {"objective": {"type": "classification"}},
        {"objective": SEQUENCE},
        {"merge": LINEAR},
        {"merge": LINEAR, "objective": {"type": "dpo"}},
        {"method": XLORA},
        {"data": {"sources": SOURCES}},
        {"training": {"max_steps": 9, "pack_length": 2048}},
        {"resources": {"distributed": {"type": "zero"}, "num_ranks": 2}},
    ],
)
def test_nothing_is_said_of_what_was_not_set(change):
    assert told(spec(change)) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_the_examples_set_nothing_idle(path):
    assert told(load_job_file(path)) == []
