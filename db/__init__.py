"""The facts: what people did, kept in one database. Nothing here knows of models, pages or pictures."""
