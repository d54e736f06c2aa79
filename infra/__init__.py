"""What runs around the two sides: broker and archive configuration, simulated studies, the demo."""
