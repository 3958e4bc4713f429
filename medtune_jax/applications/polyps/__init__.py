"""Polyp detection in colonoscopy frames (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).

`cases` reads frames and splits them by video, `detections` finds candidates in them (hand-crafted:
`boundary`, `votes`, `candidates`) and keeps them, `patches` turns candidates into what a network
sees, `truth` judges scores, `task` joins them into what a study runs, `report` shows the result.
"""

from medtune_jax.applications.polyps.candidates import Candidate, CandidateDetector, fit

__all__ = ["Candidate", "CandidateDetector", "fit"]
