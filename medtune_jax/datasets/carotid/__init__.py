"""Regions of the carotid wall in ultrasound, with traced contours, from the user's folders or CUBS."""
