"""Whether a destination holds what its source holds, told without moving rows; and how it is put right."""
