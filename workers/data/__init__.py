"""Stage `preprocess`: rows of people's files in, tokens with a loss mask and a report out.

Reading order: `stage.py` (what happens, in order), `sources.py` and `files/` (files to numbered records), `shapes.py`
(records to conversations), `canonical.py` (one form, fingerprinted), `dedup.py` (duplicates and splits), `encode.py`
(tokens and mask), `mixing.py` (several sources as one set), `report.py`. Later stages need only `dataset.py` and
`render.py`.
"""
