"""The stored result: report, segmentation and what a page draws of them."""
