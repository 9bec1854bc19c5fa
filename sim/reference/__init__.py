"""Float64 truth, which knows no hardware."""
