"""Cases, splits by patient, preprocessing, and the cache on disk."""
