"""The test bench that ships with every generated core; also what runs every simulation of the package."""
