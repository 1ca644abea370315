"""Who answers the samples: this process, one of several shards, or workers of a Ray cluster."""
