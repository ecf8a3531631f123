"""What of a campaign is on disk."""
