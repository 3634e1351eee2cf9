"""The engine: whatever all studies do in the same way. It names no study."""
