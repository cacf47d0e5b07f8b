#!/usr/bin/env python3
"""Makes tests/data/template/golden.txt: what Hugging Face's chat templates render.

Renders every template in a folder for every scenario of tests/data/template/scenarios.json, with
the generation prompt off and on, through `transformers`' own `render_jinja_template` (jinja2 in
its immutable sandbox). Only the clock is replaced, so that dates repeat.

    pip install transformers jinja2        # without torch; made with transformers 5.23.0, jinja2 3.1.6
    python scripts/golden_templates.py FOLDER_OF_TEMPLATES [OUT.txt]
    python scripts/golden_templates.py FOLDER --show TEMPLATE SCENARIO off|on

A line `# TEMPLATE` of the output begins a template; any other line is a scenario and, separated by
tabs, the outcomes without and with the generation prompt, each one of

    LENGTH HASH     characters (code points) of the text, and its 64-bit FNV-1a folded to 32 bits
    ! TEXT          the template's own error (`raise_exception`), as a JSON string
    !!              another error: a missing attribute, a wrong type, ...
"""

import datetime
import json
import pathlib
import sys

import jinja2
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "template"
NOW = datetime.datetime(2025, 3, 9, 14, 5, 7)


class Clock(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return NOW


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value >> 32 ^ value & 0xFFFFFFFF


def render(source: str, scenario: dict, prompt: bool) -> str:
    variables = {"bos_token": "<s>", "eos_token": "</s>", **scenario.get("variables", {})}
    texts, _ = chat_template_utils.render_jinja_template(
        conversations=[scenario["messages"]],
        tools=scenario.get("tools"),
        documents=variables.pop("documents", None),
        chat_template=source,
        add_generation_prompt=prompt,
        **variables,
    )
    return texts[0]


def outcome(source: str, scenario: dict, prompt: bool) -> str:
    try:
        text = render(source, scenario, prompt)
    except jinja2.exceptions.TemplateError as error:
        # raised by the template's call of `raise_exception`, and by nothing else of this exact type
        if type(error) is jinja2.exceptions.TemplateError:
            return "! " + json.dumps(str(error), ensure_ascii=False)
        return "!!"
    except Exception:
        return "!!"
    return f"{len(text)} {fnv1a(text.encode()):08x}"


def main() -> None:
    chat_template_utils.datetime = Clock
    folder = pathlib.Path(sys.argv[1])
    scenarios = json.loads((HERE / "scenarios.json").read_text(encoding="utf-8"))
    if "--show" in sys.argv:
        template, scenario, prompt = sys.argv[sys.argv.index("--show") + 1 :]
        source = (folder / f"{template}.jinja").read_text(encoding="utf-8")
        sys.stdout.write(render(source, scenarios[scenario], prompt == "on"))
        return
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "golden.txt"
    lines = []
    for path in sorted(folder.glob("*.jinja")):
        lines.append(f"# {path.stem}")
        source = path.read_text(encoding="utf-8")
        for name, scenario in scenarios.items():
            cells = [outcome(source, scenario, prompt) for prompt in (False, True)]
            lines.append("\t".join([name, *cells]))
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
