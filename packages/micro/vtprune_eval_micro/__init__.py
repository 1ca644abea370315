"""Files only: ``model/`` (micro's hub-format folder) and ``tasks/`` (data of the larger mini suite)."""
