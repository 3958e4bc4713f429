"""Colonoscopy frame quality: which frames show enough of the mucosa to be worth a look?

Tajbakhsh et al. 2016, II-C (docs/paper.md, 3). Networks see random crops of a frame and the frame's score
is the mean over its crops; a random forest on DCT reconstruction errors is the hand-crafted judge.
"""
