"""What the tests stand on: real servers, projects in folders, a process that kills, readers that share no code."""
