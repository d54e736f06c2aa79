"""Write the committed schemas anew."""

from messages.schemas import write

write()
