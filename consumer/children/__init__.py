"""Work that may crash, hang or be cancelled, in processes of its own."""
