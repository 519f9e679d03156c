"""The product measured: one command, every output verified, ratios of interleaved runs."""
