"""Polyp detection in colonoscopy frames (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).

`cases` reads frames and splits them by video, `detector` (`boundary`, `votes`) proposes polyps by hand-crafted rules,
`candidates` finds those of all frames and keeps them, `patches` turns them into what a network sees, `truth` judges
scores, `show` draws pictures, `report` (`drawings`) shows the result, `task` joins them into what a study runs.
"""
