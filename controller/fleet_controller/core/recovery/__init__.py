"""A store that came back older or empty: how that is seen, and what each VM becomes then."""
