"""ProviderRank ranks provider endpoints of the same model, proves the ranking, and routes by it."""
