"""Jobs, workers, repositories: what Offload knows and does."""
