"""The calls of the front end that existed before: the same addresses, bodies and answers."""
