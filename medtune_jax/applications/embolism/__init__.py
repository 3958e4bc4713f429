"""Pulmonary embolism detection in CT angiography (Tajbakhsh et al. 2016, study section 2)."""
