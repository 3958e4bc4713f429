"""Colonoscopy frame quality: random crops for the networks, and the hand-crafted baseline."""
