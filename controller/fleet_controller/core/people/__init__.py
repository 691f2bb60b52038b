"""Who may do what: people, their rights, and how much they may own."""
