"""What training reads: patches or the features of a frozen prefix, on the device or streamed to it."""
