"""Lists: what columns are, how they fit a width, and the formats that a list is printed in. No list
itself: those are in the views."""
