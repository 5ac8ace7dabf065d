"""How each format of an export is loaded, for the model card: code that runs where the export lies."""

from luthier.spec import ClassificationSpec, JobSpec, XloraSpec

_USE = {
    "merged": """With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("merged", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("merged")
```""",
    "peft": """With PEFT, on top of the base model:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "peft")
```""",
    "adapter": """With Luthier, on top of the base model in the folder `base`; PEFT does not know this kind of adapter:

```python
from pathlib import Path

import torch
from workers.models.tuned import load_adapted

model = load_adapted(Path("base"), Path("adapter"), torch.bfloat16)
```""",
    "triton": """With NVIDIA Triton, Python backend with torch and transformers:

```sh
tritonserver --model-repository=triton --model-control-mode=explicit --load-model={triton_model}
```""",
}
"""How each format is loaded. A new format is one row here."""

_USE_OF_CLASSIFIER = {
    "merged": """With transformers:

```python
from transformers import pipeline

classify = pipeline("text-classification", "merged")
```""",
    "peft": """With PEFT, on top of the base model; `head.json` has the classes:

```python
import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForSequenceClassification

labels = json.loads(Path("peft/head.json").read_text())["labels"]
base = AutoModelForSequenceClassification.from_pretrained(
    "{base}", num_labels=len(labels), id2label=dict(enumerate(labels))
)
model = PeftModel.from_pretrained(base, "peft")
```""",
}

_USE_OF_MULTI_LABEL = {
    "merged": """With transformers; a text has every label that is likely enough:

```python
from transformers import pipeline

classify = pipeline("text-classification", "merged", function_to_apply="sigmoid", top_k=None)
(scores,) = classify(["A text"])
labels = [one["label"] for one in scores if one["score"] >= {threshold}]
```""",
    "peft": """With PEFT, on top of the base model; `head.json` has the classes and the least probability of a label:

```python
import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForSequenceClassification

head = json.loads(Path("peft/head.json").read_text())
base = AutoModelForSequenceClassification.from_pretrained(
    "{base}",
    num_labels=len(head["labels"]),
    id2label=dict(enumerate(head["labels"])),
    problem_type="multi_label_classification",
)
model = PeftModel.from_pretrained(base, "peft")
```""",
}

_USE_OF_REWARD_MODEL = {
    "merged": """With transformers; the higher the score, the better the last message:

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("merged")
model = AutoModelForSequenceClassification.from_pretrained("merged")
conversation = [{{"role": "user", "content": "Hello"}}, {{"role": "assistant", "content": "Hello! How can I help?"}}]
inputs = tokenizer.apply_chat_template(conversation, return_dict=True, return_tensors="pt")
score = model(**inputs).logits.item()
```""",
}

_USE_OF_MIXTURE = """With PEFT, on top of the base model; it runs the model twice for every token, and without a cache:

```python
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base}", use_cache=False)
folders = sorted(Path("peft").glob("[0-9]*"), key=lambda folder: int(folder.name))
model = PeftModel.from_pretrained(base, "peft", adapters={{folder.name: str(folder) for folder in folders}})
```"""

_USE_WITH_ADDED_TOKENS = """With PEFT, on top of the base model, whose vocabulary has to grow first:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("peft")
base = AutoModelForCausalLM.from_pretrained("{base}")
base.resize_token_embeddings(max(len(tokenizer), base.get_input_embeddings().num_embeddings))
model = PeftModel.from_pretrained(base, "peft")
```"""


def usage(spec: JobSpec, base: str, triton_model: str) -> str:
    """A paragraph with code for each of `export.formats`, as Markdown.

    Args:
        spec: of the job.
        base: name of the base model, as others find it.
        triton_model: name inside `triton/`; empty without that format.
    """
    how = _USE | ({"peft": _USE_WITH_ADDED_TOKENS} if spec.added_tokens else {})
    how |= {"peft": _USE_OF_MIXTURE} if isinstance(spec.method, XloraSpec) else {}
    threshold = None
    if spec.objective.has_head:
        how = _USE_OF_CLASSIFIER | (_USE_OF_REWARD_MODEL if spec.objective.type == "reward" else {})
    if isinstance(spec.objective, ClassificationSpec) and spec.objective.multi_label:
        how, threshold = _USE_OF_MULTI_LABEL, spec.objective.threshold
    words = {"base": base, "triton_model": triton_model, "threshold": threshold}
    return "\n\n".join(how[name].format(**words) for name in spec.export.formats)
