"""The outside world behind the Log port: embedded, Kafka, files."""
