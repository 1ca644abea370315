"""Files only: ``tasks/`` (data and cards of the web suite)."""
