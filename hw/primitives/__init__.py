"""Parts that know no configuration: parameters in, ports out."""
