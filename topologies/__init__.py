"""Ready topologies on real data, one page each."""
