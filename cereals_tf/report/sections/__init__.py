"""The sections of the page, a file each; `templates/` has their words."""
