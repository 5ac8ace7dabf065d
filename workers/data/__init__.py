"""Stage `preprocess`: rows of people's files in, tokens with a loss mask and a report out.

Reading order: `stage.py` and `pipeline.py` (what happens, in order), `inputs.py` and `lineage/` (what a dataset is made
of, and one that is there already), `places/`, `sources.py` and `files/` (files to numbered records), `shapes/` (records
to conversations), `canonical.py` (one form, fingerprinted), `steps/` (what is cleaned and filtered), `dedup/` and
`splits/` (which rows stay, and where), `select/` and `augment/` (fewer, and more), `tokens/` (ids and mask),
`writing.py` (into files), `report/`; `engine/` says where the plans run. Later stages need only `dataset.py` and
`tokens/render.py`.
"""
