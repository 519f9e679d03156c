"""Local state: bytes in, bytes out; knows nothing of Kafka."""
