"""PostgreSQL, read through ADBC and written with COPY."""
