"""The page an operator opens: server-rendered, no build step, nothing fetched from elsewhere."""
