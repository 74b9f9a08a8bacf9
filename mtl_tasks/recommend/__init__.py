"""Candidates, scores, recommendations and explanations from a trained run."""
