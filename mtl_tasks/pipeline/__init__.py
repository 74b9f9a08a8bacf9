"""The pipeline: runs stages, in one process or one each, and reads finished runs."""
