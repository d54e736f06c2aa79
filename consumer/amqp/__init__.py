"""The lab's side of the broker. The only importer of pika; none of its exceptions leaves here."""
