"""Phantom CT pulmonary angiograms: a seeded chest with emboli, mimics and their truth."""
