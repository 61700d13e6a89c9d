"""How the operator scales: 1,000 to 10,000 shards in 100 soups, on a real API server."""
