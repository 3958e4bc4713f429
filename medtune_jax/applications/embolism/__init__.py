"""Pulmonary embolism detection in CT angiography (Tajbakhsh et al. 2016, II-B; docs/paper.md, 2)."""
