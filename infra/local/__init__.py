"""Private nodes on loopback: RabbitMQ and Orthanc as any user, started, awaited and stopped."""
