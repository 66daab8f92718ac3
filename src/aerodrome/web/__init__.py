"""What every HTTP listener of ours shares: connections with limits, and bodies that are read with patience."""
