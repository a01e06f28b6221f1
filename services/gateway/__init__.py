"""The product: games, clips, reels and exports; its rules, its SQL, its HTTP API."""
