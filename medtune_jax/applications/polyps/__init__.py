"""Polyp detection in colonoscopy frames: candidates, patches and what a person checks by eye."""

from medtune_jax.applications.polyps.candidates import Candidate, CandidateDetector, fit

__all__ = ["Candidate", "CandidateDetector", "fit"]
