"""The ten experiments: their runs (``runs``), controls that only they need (``controls``), and a section each."""
