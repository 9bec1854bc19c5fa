"""Pages that are made from the code, and the source folder of the site: `make docs` runs this package."""
