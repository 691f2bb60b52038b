"""A fleet's template: the table of its fields, and parts that have rules of their own."""
