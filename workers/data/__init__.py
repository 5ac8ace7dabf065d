"""Stage `preprocess`: rows of people's files in, tokens with a loss mask and a report out.

Reading order: `stage.py` (what happens, in order), `inputs.py`, `lineage.py` and `versions.py` (what a dataset is made
of, and one that is there already), `sources.py` and `files/` (files to numbered records), `shapes/` (records to
conversations), `canonical.py` (one form, fingerprinted), `dedup/` (duplicates and splits), `encode.py` (tokens and
mask), `mixing.py` (several sources as one set), `report.py`; `engine.py` says where the plans run. Later stages need
only `dataset.py` and `render.py`.
"""
