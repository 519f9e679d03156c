"""How a topology runs: compile, buffer, task, commit, restore, worker, supervisor."""
