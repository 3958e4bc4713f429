"""Intima-media boundary segmentation in carotid ultrasound (Tajbakhsh et al. 2016, intima-media).

`data` reads regions of interest with their LI and MA contours, `patches` draws the training
patches, `contours` turns two confidence maps into two smooth interfaces and a thickness, and
`baselines` finds the interfaces without learning. `task` joins them into what a study runs,
`predict` measures new images. Rows count downwards, the lumen is above.
"""
