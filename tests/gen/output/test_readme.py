"""READMEs from templates: what a template asks for must be given."""

import jinja2
import pytest

from wingbeat.gen.output.readme import render


@pytest.mark.parametrize("template", ["core.md.j2", "network.md.j2", "registers.html.j2"])
def test_a_missing_fact_is_no_empty_place(template):
    with pytest.raises(jinja2.UndefinedError):
        render(template)
