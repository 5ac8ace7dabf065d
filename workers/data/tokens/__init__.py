"""Rows as token ids, with a mask of the tokens that are trained on.

Reading order: `render.py` (the one rendering of a conversation), `templates.py` and `tracing.py` (the same by joining
strings), `rendered.py` (what of it is learned), `batch_tokenizer.py` (texts to ids, with `spot_check.py`), `encode.py`
(all of this for one row after the other), `fit.py` and `windows.py` (what is too long), `tokenise.py` (whole files).
Later stages need only `render.py`.
"""
