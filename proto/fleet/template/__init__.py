"""Parts of a fleet's template that have rules of their own, beside the table of its fields."""
