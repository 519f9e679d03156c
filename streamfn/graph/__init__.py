"""What a program is: the topology as frozen data, its names, its plan, its description."""
