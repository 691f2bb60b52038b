"""An image that is handed from host to host: who fetches which half of it from whom."""
