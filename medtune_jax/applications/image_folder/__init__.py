"""Classification of whole images by the user's own labels: the application for any 2-D task."""
