"""Programs that stand where large ones would: they take what those take and run a real small model."""
