"""Search for better settings of the boosted members: space, objective, study, evidence and proposed change."""
