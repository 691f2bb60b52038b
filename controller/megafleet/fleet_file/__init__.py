"""Fleet files, read strictly into templates."""
