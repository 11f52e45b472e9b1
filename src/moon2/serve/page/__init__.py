"""The page on which people search: one template, style sheets and scripts, served as they are."""
