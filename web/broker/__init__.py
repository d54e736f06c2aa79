"""The site's side of RabbitMQ: the only importer of aio-pika. No AMQP error leaves it."""
