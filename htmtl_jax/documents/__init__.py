"""Documents: the record, where it comes from, and its reference summaries."""
