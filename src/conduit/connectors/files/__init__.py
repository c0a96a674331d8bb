"""CSV, JSON and Parquet: files that are read, and files that are written with committed names."""
