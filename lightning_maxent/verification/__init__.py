"""Is a critic right?  Contract checks, and worlds whose soft-optimal values are known exactly."""
