"""The agent: memory, proposals, recurrent policy, and how it is updated and stored."""
