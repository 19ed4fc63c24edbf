"""The simulator: subjects from warped brain maps, and the series a scanner would make of them."""
