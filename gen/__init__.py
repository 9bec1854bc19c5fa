"""What turns a configuration or a model into files and programs: compiler, generator, command line."""
