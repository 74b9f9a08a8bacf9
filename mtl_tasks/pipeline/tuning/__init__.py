"""Studies: features by the ordinary stages, trials on them, and the proposed change; `tasks` is for a scheduler."""
