"""VLMEvalKit's data sets as tasks; the kit is imported when one is opened."""
