"""The proof: everything in tests/faults once (`make prove`), or for a long time by a seeded schedule (`make soak`)."""
