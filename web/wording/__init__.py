"""What readers are told of a request and of its result."""
