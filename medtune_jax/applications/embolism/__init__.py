"""Pulmonary embolism detection in CT angiography (Tajbakhsh et al. 2016, II-B; docs/paper.md, 2).

`cases` reads patients and keeps what is needed of their volumes (`candidates`, the `vessel` at each), `patches` says in
which planes a network sees a candidate, `truth` judges scores, `baseline` is the hand-crafted rival, `show` draws
pictures, `report` shows the result (`compare`: two studies side by side), `task` joins them into what a study runs.
"""
